"""The Studio in a box: everything that the runbook operates, on this machine, on loopback.

    commands.py         ./runbook sandbox up | down | status | reset | env
    box.py              the same from Python, and what `still` means
    guard.py            the process that owns all others; mourner.py ends what it may leave
    state.py folder.py  what a running sandbox has written down, and where
    process.py servant.py programs.py    whose processes, as whom they run, and from where
    postgres.py valkey.py                how the two servers are set up
    seed/ sql/          a healthy Studio for PostgreSQL and Valkey
    control_plane/      AWS, in a process of its own
    data_plane/         what runs on it: requests, tasks that answer, traffic, work

lib/runbook imports nothing of it: the commands are plugged in by entry point.
"""
