"""The programs that run on a board: the agent, the keeper, and the prologue of the keeper.

These modules run on Python 3.8 and newer, and import only the standard library, each other and,
in the agent, numpy and a runtime. `bundle.py` runs on the host and packs them for sending.
"""
