"""A small model around each layer class of `keras.layers`, with weights from a seed.

The layer reads the result of a Dense layer, and a Dense layer reads its result, so both sides of it
are computed values. Layers that prepare raw data read the model's input directly.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import Arrays, garments, tinted

# Kind of input: its shape without batch. "pixels" and "labels" are integers or 0..255.
KINDS = {
    "image": (12, 12, 4),
    "pixels": (16, 16, 3),
    "sequence": (12, 8),
    "volume": (6, 6, 6, 4),
    "vector": (16,),
    "tokens": (10,),
    "text": (1,),
    "frames": (4, 8, 8, 2),
    "frames1": (4, 8, 2),
    "frames3": (3, 4, 4, 4, 2),
    "wave": (256,),
    "wave1": (256, 1),
}
CLASSES = 6
_RAW = ("pixels", "text", "tokens", "wave", "wave1")  # no Dense layer before the layer

# Classes without a model around them, and why.
EXCLUDED = {
    "Layer": "base class",
    "Wrapper": "base class",
    "InputLayer": "in every model",
    "FlaxLayer": "code of another framework",
    "JaxLayer": "code of another framework",
    "TorchModuleWrapper": "code of another framework",
    "TFSMLayer": "a SavedModel, which edgeq converts directly",
    "MaxNumBoundingBoxes": "for training: pads lists of boxes",
    "CutMix": "for training: mixes pictures with their labels",
    "MixUp": "for training: mixes pictures with their labels",
}

# Class, kind of input, arguments. One class may have several rows.
_PLAIN = """
ActivityRegularization vector l1=0.01
AdaptiveAveragePooling1D sequence output_size=3
AdaptiveAveragePooling2D image output_size=3
AdaptiveAveragePooling3D volume output_size=2
AdaptiveMaxPooling1D sequence output_size=3
AdaptiveMaxPooling2D image output_size=3
AdaptiveMaxPooling3D volume output_size=2
AlphaDropout vector rate=0.5
AugMix pixels
AutoContrast pixels
AveragePooling1D sequence pool_size=2
AveragePooling2D image pool_size=2
AveragePooling2D image pool_size=3,strides=2,padding='same'
AveragePooling3D volume pool_size=2
BatchNormalization image
BatchNormalization sequence
CategoryEncoding tokens num_tokens=20,output_mode='multi_hot'
CenterCrop image height=8,width=8
ContrastLimitedAdaptiveHistogramEqualization pixels
Conv1D sequence filters=6,kernel_size=3,activation='relu'
Conv1D sequence filters=6,kernel_size=3,padding='causal',dilation_rate=2
Conv1DTranspose sequence filters=6,kernel_size=3,strides=2
Conv2D image filters=6,kernel_size=3,activation='relu'
Conv2D image filters=8,kernel_size=3,groups=2,padding='same'
Conv2D image filters=6,kernel_size=3,dilation_rate=2
Conv2DTranspose image filters=6,kernel_size=3,strides=2,padding='same'
Conv3D volume filters=4,kernel_size=3
Conv3DTranspose volume filters=4,kernel_size=3
ConvLSTM1D frames1 filters=4,kernel_size=3
ConvLSTM2D frames filters=4,kernel_size=3
ConvLSTM3D frames3 filters=4,kernel_size=3
Cropping1D sequence cropping=2
Cropping2D image cropping=2
Cropping3D volume cropping=1
Dense vector units=12,activation='relu'
Dense sequence units=12
DepthwiseConv1D sequence kernel_size=3
DepthwiseConv2D image kernel_size=3,depth_multiplier=2
Discretization pixels bin_boundaries=[50.0,100.0,150.0]
Dropout vector rate=0.5
ELU vector alpha=0.7
EinsumDense sequence equation='abc,cd->abd',output_shape=(12,12),bias_axes='d'
Embedding tokens input_dim=20,output_dim=8
Equalization pixels
Flatten image
GRU sequence units=8
GaussianDropout vector rate=0.5
GaussianNoise vector stddev=0.5
GlobalAveragePooling1D sequence
GlobalAveragePooling2D image
GlobalAveragePooling3D volume
GlobalMaxPooling1D sequence
GlobalMaxPooling2D image
GlobalMaxPooling3D volume
GroupNormalization image groups=2
Hashing tokens num_bins=5
Identity vector
IntegerLookup tokens vocabulary=[1,3,5,7,9]
LSTM sequence units=8
LayerNormalization sequence
LayerNormalization image axis=[1,2,3]
LeakyReLU vector negative_slope=0.2
Masking sequence mask_value=0.0
MaxPooling1D sequence pool_size=2
MaxPooling2D image pool_size=2
MaxPooling2D image pool_size=3,strides=2,padding='same'
MaxPooling3D volume pool_size=2
MelSpectrogram wave fft_length=64,sequence_stride=32,num_mel_bins=8
Normalization image mean=[0.1,0.2,0.3,0.4],variance=[1.0,2.0,0.5,1.5]
PReLU image shared_axes=[1,2]
Permute sequence dims=(2,1)
RMSNormalization sequence
RandAugment pixels
RandomBrightness pixels factor=0.2
RandomColorDegeneration pixels factor=0.2
RandomColorJitter pixels brightness_factor=0.2
RandomContrast pixels factor=0.2
RandomCrop pixels height=16,width=16
RandomElasticTransform pixels
RandomErasing pixels
RandomFlip pixels
RandomGaussianBlur pixels
RandomGrayscale pixels
RandomHue pixels factor=0.2
RandomInvert pixels
RandomPerspective pixels
RandomPosterization pixels factor=4
RandomRotation pixels factor=0.2
RandomSaturation pixels factor=0.2
RandomSharpness pixels factor=0.2
RandomShear pixels x_factor=[0.0,0.2]
RandomTranslation pixels height_factor=0.2,width_factor=0.2
RandomZoom pixels height_factor=0.2
ReLU vector max_value=6.0
ReLU vector negative_slope=0.1,threshold=0.2
RepeatVector vector n=3
Rescaling image scale=0.5,offset=0.1
Reshape image target_shape=(24,24)
Resizing image height=24,width=24
Resizing image height=24,width=24,interpolation='nearest'
ReversibleEmbedding tokens input_dim=20,output_dim=8
STFTSpectrogram wave1 frame_length=64,frame_step=32,fft_length=64,window=None
SeparableConv1D sequence filters=6,kernel_size=3
SeparableConv2D image filters=6,kernel_size=3
SimpleRNN sequence units=8
Softmax vector
Solarization pixels
SpatialDropout1D sequence rate=0.5
SpatialDropout2D image rate=0.5
SpatialDropout3D volume rate=0.5
StringLookup text vocabulary=['a','b']
TextVectorization text vocabulary=['a','b'],output_sequence_length=4
UnitNormalization vector
UpSampling1D sequence size=2
UpSampling2D image size=2
UpSampling2D image size=2,interpolation='bilinear'
UpSampling3D volume size=2
ZeroPadding1D sequence padding=1
ZeroPadding2D image padding=1
ZeroPadding3D volume padding=1
"""
_ACTIVATIONS = """
celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_tanh leaky_relu linear
log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign
sparse_plus sparse_sigmoid squareplus tanh tanh_shrink
"""

Make = Callable[[Any, list[Any]], Any]  # keras.layers, results of Dense layers -> result

# Layers that wrap another one, or read several tensors.
_JOINED: dict[str, tuple[str, Make]] = {
    **{
        name: ("image", lambda k, x, name=name: getattr(k, name)()(x[:2]))
        for name in ("Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")
    },
    "AdditiveAttention": ("sequence", lambda k, x: k.AdditiveAttention()(x)),
    "Attention": ("sequence", lambda k, x: k.Attention()(x)),
    "Attention(causal)": ("sequence", lambda k, x: k.Attention()(x, use_causal_mask=True)),
    "Bidirectional(LSTM)": ("sequence", lambda k, x: k.Bidirectional(k.LSTM(6))(x[0])),
    "Dot": ("sequence", lambda k, x: k.Dot(axes=2)(x[:2])),
    "Dot(normalize)": ("sequence", lambda k, x: k.Dot(axes=2, normalize=True)(x[:2])),
    "GRUCell": ("sequence", lambda k, x: k.RNN(k.GRUCell(6))(x[0])),
    "GroupQueryAttention": (
        "sequence",
        lambda k, x: k.GroupQueryAttention(4, 4, 2)(x[0], x[1]),
    ),
    "HashedCrossing": ("tokens", lambda k, x: k.HashedCrossing(5)([x[0][:, :1], x[1][:, 1:2]])),
    "LSTMCell": ("sequence", lambda k, x: k.RNN(k.LSTMCell(6))(x[0])),
    "Lambda": ("vector", lambda k, x: k.Lambda(lambda value: value * 2.0)(x[0])),
    "MultiHeadAttention": ("sequence", lambda k, x: k.MultiHeadAttention(2, 4)(x[0], x[1])),
    "MultiHeadAttention(causal)": (
        "sequence",
        lambda k, x: k.MultiHeadAttention(2, 4)(x[0], x[0], use_causal_mask=True),
    ),
    "Pipeline": (
        "pixels",
        lambda k, x: k.Pipeline([k.Rescaling(1 / 255), k.CenterCrop(8, 8)])(x[0]),
    ),
    "RNN": ("sequence", lambda k, x: k.RNN(k.SimpleRNNCell(6), return_sequences=True)(x[0])),
    "SimpleRNNCell": ("sequence", lambda k, x: k.RNN(k.SimpleRNNCell(6))(x[0])),
    "SpectralNormalization": ("image", lambda k, x: k.SpectralNormalization(k.Conv2D(6, 3))(x[0])),
    "StackedRNNCells": (
        "sequence",
        lambda k, x: k.RNN(k.StackedRNNCells([k.GRUCell(6), k.LSTMCell(6)]))(x[0]),
    ),
    "TimeDistributed(Conv1D)": ("image", lambda k, x: k.TimeDistributed(k.Conv1D(6, 3))(x[0])),
    "Masking + LSTM": ("sequence", lambda k, x: k.LSTM(6)(k.Masking()(x[0]))),
    "Embedding(mask) + GRU": (
        "tokens",
        lambda k, x: k.GRU(6)(k.Embedding(20, 8, mask_zero=True)(x[0])),
    ),
}  # fmt: skip


def recipes() -> dict[str, tuple[str, Make]]:
    """Return name to (kind of input, function that applies the layer), in alphabetical order."""
    found = dict(_JOINED)
    for name in _ACTIVATIONS.split():
        found[f"Activation({name})"] = (
            "vector",
            lambda k, x, name=name: k.Activation(name)(x[0]),
        )
    for row in _PLAIN.strip().splitlines():
        name, kind, *arguments = row.split(maxsplit=2)
        text = arguments[0] if arguments else ""
        shown = f"{name}({text.replace(',', ', ')})" if text else name
        call = ast.parse(f"dict({text})", mode="eval").body
        options = {item.arg: ast.literal_eval(item.value) for item in call.keywords}
        shown = shown if shown not in found else f"{shown} of a {kind}"
        found[shown] = (kind, lambda k, x, n=name, o=options: getattr(k, n)(**o)(x[0]))
    return dict(sorted(found.items(), key=lambda item: item[0].lower()))


def layer_classes() -> set[str]:
    """Return the names of the layer classes that have a recipe or a reason to have none."""
    known = {part.strip() for name in recipes() for part in name.partition("(")[0].split("+")}
    return known | EXCLUDED.keys()


def missing_classes() -> list[str]:
    """Return the layer classes of this Keras without a recipe and without a reason for that."""
    import keras

    known = layer_classes()
    classes: dict[type, set[str]] = {}
    for name, item in vars(keras.layers).items():
        if isinstance(item, type) and issubclass(item, keras.layers.Layer):
            classes.setdefault(item, set()).add(name)
    return sorted(min(names) for names in classes.values() if not names & known)


def build(kind: str, make: Make) -> Any:
    """Make the model around one layer."""
    import keras

    keras.utils.set_random_seed(0)
    shape = KINDS[kind]
    dtype = {"tokens": "int32", "text": "string"}.get(kind, "float32")
    entry = keras.Input(shape, dtype=dtype, name="x")
    if kind in _RAW:
        read = [entry, entry]
    else:
        read = [keras.layers.Dense(shape[-1], name=f"before_{n}")(entry) for n in range(2)]
    result = make(keras.layers, read)
    if result.dtype != "float32":
        result = keras.ops.cast(result, "float32")
    flat = keras.layers.Flatten(name="flat")(result)
    model = keras.Model(entry, keras.layers.Dense(CLASSES, name="after")(flat))
    set_weights(model)
    return model


def set_weights(model: Any) -> None:
    """Give each weight random values that suit its role."""
    random = np.random.default_rng(0)
    for weight in model.weights:
        kind, shape = weight.path.rpartition("/")[2], tuple(weight.shape)
        if not str(weight.dtype).startswith("float"):
            continue  # states of random generators, vocabularies
        if kind in ("gamma", "scale", "moving_variance", "variance"):
            values = random.uniform(0.5, 1.5, shape)
        elif kind in ("alpha",):
            values = random.uniform(0.05, 0.5, shape)
        elif len(shape) >= 2 and "bias" not in kind:
            values = random.normal(0, 1 / np.sqrt(max(1, np.prod(shape[:-1]))), shape)
        else:
            values = random.normal(0, 0.2, shape)
        weight.assign(values)


def samples(kind: str, count: int, seed: int) -> Arrays:
    """Return values for one kind of input: bounded and smooth, as real data are."""
    random, shape = np.random.default_rng(seed), KINDS[kind]
    if kind == "tokens":
        return {"x": random.integers(0, 20, (count, *shape)).astype(np.int32)}
    if kind == "text":
        return {"x": random.choice(["a", "b"], (count, *shape))}
    if kind == "pixels":
        part = "calibration" if seed == 0 else "test"
        return {"x": tinted(garments(part)[:count], shape[0]).astype(np.float32)}
    values = random.uniform(-1, 1, (count, *shape))
    for axis in range(1, len(shape)):
        values = (values + np.roll(values, 1, axis)) / np.sqrt(2)
    return {"x": values.astype(np.float32)}
