"""The agent: runs models on the machine that it was copied to.

    python agent.pyz facts          print what this machine is, as one JSON line
    python agent.pyz run JOBDIR     do JOBDIR/job.json: events on stdout, JOBDIR/result.json
    python agent.pyz keep DIR       start workers that stay; a first line on stdin says which, each
                                    further one names a JOBDIR in DIR to run
    python agent.pyz worker PID     (internal) the process that holds one interpreter
    python agent.pyz profile PID MODEL RESULT.json THREADS RUNS
                                    (internal) the process that times a model's operators

`bundle.py` packs these modules into the one file. It needs the standard library, numpy, and one of
ai_edge_litert, tflite_runtime and tensorflow.

Native code can crash, so the agent only coordinates: each model is loaded in its own worker
process. A crash then becomes an error in the result, and each model has its own peak memory.

A model may be hostile. The process that opens it first imports the runtime, then confines itself to
the job's folder with the source of edgeq's `sandbox.py`, which the job contains. No code is loaded
from that folder, because an earlier model could have put it there.
"""
