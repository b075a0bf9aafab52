"""The keeper: keeps files and jobs on a board, for one caller, while a connection lasts.

Its modules are sent as text with each connection and run under the board's Python 3.8 or newer with
the standard library alone; nothing of the keeper stays on the board. Requests are JSON lines on
stdin; answers are frames on stdout, which `keeper_link.py` reads. Files are sent through the same
streams, so a board needs no SFTP and a connection no second channel. A job runs in its own session:
it continues when the connection ends, and the next keeper finds it.

    ROOT/files/DIGEST        what was sent, by SHA-256: models, agents, environments
    ROOT/incoming/NAME       an upload that is not complete
    ROOT/jobs/ID/            one run: its events, errors and status; in work/ its inputs and outputs
    ROOT/environments/NAME/  a virtual environment with a runtime

This layout stays the same from release to release: the keeper of any edgeq works with what another
one left there, running jobs included.
"""
