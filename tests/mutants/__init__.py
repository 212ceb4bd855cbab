"""The mutation test of ``rlops check``: no change of a released environment's dynamics may go unnoticed."""
