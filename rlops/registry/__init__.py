"""What makes an environment that is shared the same everywhere; so far: its dynamics."""
