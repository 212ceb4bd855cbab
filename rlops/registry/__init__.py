"""What makes an environment that is shared the same everywhere: its dynamics, and the image that carries them.

``references`` names images; ``oci``, ``layers``, ``store``, ``unpacking`` and ``bundles`` keep them;
``distribution``, ``credentials``, ``transfers`` and ``server`` bring them from and to registries; ``wheels``,
``project``, ``probe``, ``labels``, ``sbom`` and ``images`` build them, ``rebuilding`` builds them again; ``signing``,
``identity`` and ``locks`` say which one is meant; ``inside`` runs the code of one.
"""
