"""What a foreign model file may hold: told from its text, before any framework opens the file.

A framework that loads a model turns names in the file into classes and functions, and calls them
with what else the file holds. These modules read the same text as plain data and accept only what
is on a list; see `docs/decisions/0010-what-a-model-file-may-hold.md`. Nothing here imports a
framework, and nothing is called that a file names.

    findings.py        what a file holds that it may not, as a value
    plain_json.py      JSON with limits
    keras_names.py     the list: classes of Keras 3 and tf_keras
    functions.py       the list: functions of TensorFlow that a layer may stand for
    operators.py       the list: operators of TensorFlow graphs
    listing.py         how the lists are written
    keras_config.py    judges a Keras configuration
    archives.py        what lies in a `.keras` zip or in HDF5: paths and sizes
    keras_file.py      reads and checks a `.keras` or `.h5` file
    graphs.py          judges a TensorFlow graph
    saved_model.py     reads and checks a SavedModel folder
    onnx_file.py       checks where an ONNX file keeps its weights
"""
