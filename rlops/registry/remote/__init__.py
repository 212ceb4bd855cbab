"""Environments stepped in another process, container or machine: a batch of rows a frame, no step a copy of JSON.

``docs/remote.md`` is the protocol's specification. ``protocol`` holds the handshake, ``frames`` what travels,
``carriers`` what it travels on, ``server`` and ``client`` the two sides, ``conformance`` checks of any server.
"""
