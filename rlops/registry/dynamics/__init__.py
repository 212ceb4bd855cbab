"""Do the dynamics of what is installed agree with what was released?

``golden`` writes and reads recorded episodes, ``check`` judges what is installed by them and says which layer moved,
``negative`` looks for what must hold of any environment, ``fingerprint`` says it in a few hashes, ``diff`` shows two
versions side by side. What is judged is a subject: a kernel of rlops (``kernels``, ``scripts``) or any environment that
Gymnasium makes (``gymnasium_envs``).
"""
