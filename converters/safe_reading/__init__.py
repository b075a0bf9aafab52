"""Checks of a foreign model file for code, before any framework opens it.

A framework that loads a model turns names in the file into classes and functions, and calls them
with other values of the file. These modules read the same text as plain data and accept only names
that are on a list; see `docs/decisions/0010-what-a-model-file-may-hold.md`. Nothing here imports a
framework or calls anything that a file names.

    findings.py        a part of a file that is refused, as a value; how the lists are written
    plain_json.py      JSON with limits
    keras_names.py     the list: classes of Keras 3 and tf_keras
    functions.py       the list: functions of TensorFlow that a layer may call
    operators.py       the list: operators of TensorFlow graphs
    keras_config.py    checks a Keras configuration
    archives.py        checks a zip and HDF5: paths and sizes
    keras_file.py      reads and checks a `.keras` or `.h5` file
    graphs.py          checks a TensorFlow graph
    saved_model.py     reads and checks a SavedModel folder
    onnx_file.py       checks where an ONNX file keeps its weights
"""
