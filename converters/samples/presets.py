"""Preprocessing by name: that of the models of keras.applications."""

from __future__ import annotations

from edgeq.values import Preprocessing

_TF = Preprocessing(scale=1 / 127.5, offset=-1.0)
_TORCH = Preprocessing(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_CAFFE = Preprocessing(channels="bgr", mean=(103.939, 116.779, 123.68))
_INSIDE = Preprocessing()  # the model itself begins with Rescaling: raw 0..255

# keras.applications by module name, each with the mode its preprocess_input uses (Keras 3.15,
# keras/src/applications/*.py); efficientnet_lite is TensorFlow's, with (x - 127) / 128.
PRESETS: dict[str, Preprocessing] = {
    "convnext": _INSIDE,
    "densenet": _TORCH,
    "efficientnet": _INSIDE,
    "efficientnet_lite": Preprocessing(mean=(127.0,), std=(128.0,)),
    "efficientnet_v2": _INSIDE,
    "inception_resnet_v2": _TF,
    "inception_v3": _TF,
    "mobilenet": _TF,
    "mobilenet_v2": _TF,
    "mobilenet_v3": _INSIDE,
    "nasnet": _TF,
    "resnet": _CAFFE,
    "resnet50": _CAFFE,
    "resnet_v2": _TF,
    "vgg16": _CAFFE,
    "vgg19": _CAFFE,
    "xception": _TF,
}

# Beginnings of constructor names whose nearest preset by spelling would be the wrong one.
CONSTRUCTORS = (
    ("resnet50v2", "resnet_v2"),
    ("resnet101v2", "resnet_v2"),
    ("resnet152v2", "resnet_v2"),
    ("resnet", "resnet"),
    ("efficientnetv2", "efficientnet_v2"),
    ("efficientnetlite", "efficientnet_lite"),
    ("efficientnet", "efficientnet"),
    ("mobilenetv3", "mobilenet_v3"),
)
