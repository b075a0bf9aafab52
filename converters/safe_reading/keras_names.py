"""The list of classes that Keras 3 and tf_keras may make from a configuration.

A class is on the list after its constructor and its call have been read, so that a new class of a
later Keras is refused until then. `REFUSED` has the reasons why some classes are not on it.
"""

from __future__ import annotations

import re

from edgeq.converters.safe_reading.findings import listed

# The modules of these classes, exported ("keras.layers") or not
# ("keras.src.models.functional", "tf_keras.src.engine.functional").
MODULES = re.compile(
    r"(tf_)?keras(\.src)?(\.(activations|applications|constraints|dtype_policies|engine"
    r"|experimental|initializers|layers|mixed_precision|models|ops|premade_models|quantizers"
    r"|random|regularizers)(\.[a-z0-9_]+)*)?"
    # TensorFlow's initializers, which tf_keras saves under their own names.
    r"|tensorflow\.python\.ops\.init_ops(_v2)?"
)

LAYERS = listed(
    """
    AbstractRNNCell Activation ActivityRegularization AdaptiveAveragePooling1D
    AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AddLoss AddMetric AdditiveAttention AlphaDropout Attention AugMix
    AutoContrast Average AveragePooling1D AveragePooling2D AveragePooling3D AvgPool1D AvgPool2D
    AvgPool3D BatchNormalization BatchNormalizationBase BatchNormalizationV1 BatchNormalizationV2
    Bidirectional CategoryEncoding CenterCrop ClassMethod Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose
    Conv3D Conv3DTranspose ConvLSTM1D ConvLSTM1DCell ConvLSTM2D ConvLSTM2DCell ConvLSTM3D
    ConvLSTM3DCell Convolution1D Convolution1DTranspose Convolution2D Convolution2DTranspose
    Convolution3D Convolution3DTranspose Cropping1D Cropping2D Cropping3D CuDNNGRU CuDNNLSTM
    CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU EinsumDense
    Embedding Equalization Flatten Functional GRU GRUCell GRUCellV1 GRUCellV2 GRUV1 GRUV2
    GaussianDropout GaussianNoise GlobalAveragePooling1D GlobalAveragePooling2D
    GlobalAveragePooling3D GlobalAvgPool1D GlobalAvgPool2D GlobalAvgPool3D GlobalMaxPool1D
    GlobalMaxPool2D GlobalMaxPool3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention GroupedQueryAttention HashedCrossing Hashing Identity
    InputLayer InstanceMethod InstanceProperty IntegerLookup LSTM LSTMCell LSTMCellV1 LSTMCellV2
    LSTMV1 LSTMV2 Layer LayerNormalization LeakyReLU LinearModel LocallyConnected1D
    LocallyConnected2D Masking MaxNumBoundingBoxes MaxPool1D MaxPool2D MaxPool3D MaxPooling1D
    MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp Model MultiHeadAttention
    Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomFourierFeatures RandomGaussianBlur
    RandomGrayscale RandomHeight RandomHue RandomInvert RandomPerspective RandomPosterization
    RandomRotation RandomSaturation RandomSharpness RandomShear RandomTranslation RandomWidth
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding STFTSpectrogram
    SeparableConv1D SeparableConv2D SeparableConvolution1D SeparableConvolution2D Sequential
    SimpleRNN SimpleRNNCell SlicingOpLambda Softmax Solarization SpatialDropout1D SpatialDropout2D
    SpatialDropout3D SpectralNormalization StackedRNNCells StringLookup Subtract
    SyncBatchNormalization TFOpLambda TensorFlowOpLayer TextVectorization ThresholdedReLU
    TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D WideDeepModel Wrapper
    ZeroPadding1D ZeroPadding2D ZeroPadding3D
    """
)

# The classes as which Keras 3 saves functions of `keras.ops` in a functional model.
OPERATIONS = listed(
    """
    Abs Absolute AdaptiveAveragePool AdaptiveMaxPool Add AffineTransform All AllClose Amax Amin
    Angle Any Append Arange Arccos Arccosh Arcsin Arcsinh Arctan Arctan2 Arctanh Argmax Argmin
    Argpartition Argsort Array ArraySplit Average AveragePool BatchNorm BinaryCrossentropy
    Bincount BitwiseAnd BitwiseInvert BitwiseLeftShift BitwiseNot BitwiseOr BitwiseRightShift
    BitwiseXor BroadcastTo CDist CTCDecode CTCLoss Cast CategoricalCrossentropy Cbrt Ceil Celu
    Cholesky CholeskyInverse Clip Concatenate Conj Conjugate Conv ConvTranspose ConvertToTensor
    Copy Corrcoef Correlate Cos Cosh CountNonzero CropImages Cross Cumprod Cumsum Deg2rad
    DepthToSpace DepthwiseConv Det Diag Diagflat Diagonal Diff Digitize Divide DivideNoNan Dot
    DotProductAttention Dsplit Dstack Eig Eigh Einsum ElasticTransform Elu EmptyLike Equal Erf
    Erfc Erfinv Exp Exp2 ExpandDims Expm1 ExtractPatches ExtractSequences FFT FFT2 Fabs Flip
    Fliplr Flipud Floor FloorDivide Fmax Fmin Fmod Fold Full FullLike GaussianBlur Gcd Gelu
    Geomspace GetItem Glu Greater GreaterEqual HSVToRGB HardShrink HardSigmoid HardSilu HardTanh
    Heaviside Histogram Hsplit Hstack Hypot I0 IFFT2 IRFFT ISTFT Imag InTopK Inner Inv IsIn
    Isclose Isfinite Isinf Isnan Isneginf Isposinf Isreal Kron LayerNorm Lcm Ldexp LeakyRelu
    LeftShift Less LessEqual Linspace Log Log10 Log1p Log2 LogSigmoid LogSoftmax Logaddexp
    Logaddexp2 Logdet LogicalAnd LogicalNot LogicalOr LogicalXor Logspace Logsumexp Lstsq LuFactor
    MapCoordinates Matmul MatrixRank Max MaxPool Maximum Mean Median Meshgrid Min Minimum Mod
    Moments Moveaxis MultiHot Multiply NanToNum Nanargmax Nanargmin Nancumprod Nancumsum Nanmax
    Nanmean Nanmedian Nanmin Nanpercentile Nanprod Nanquantile Nanstd Nansum Nanvar Ndim Negative
    Nextafter Nonzero Norm Normalize NotEqual OneHot OnesLike Outer PSNR Pad PadImages Percentile
    PerspectiveTransform Pinv Polar Power Prod Ptp Qr Quantile RFFT RGBToGrayscale RGBToHSV
    RMSNorm Rad2deg Ravel Real Rearrange Reciprocal Relu Relu6 Repeat Reshape Resize RightShift
    Roll Rot90 Round Rsqrt SSIM STFT SVD SaturateCast ScaleAndTranslate Scatter ScatterUpdate
    SearchSorted SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum Select Selu
    SeparableConv Sigmoid Sign Signbit Silu Sin Sinc Sinh Size Slice SliceUpdate Slogdet
    SobelEdges SoftShrink Softmax Softplus Softsign Solve SolveTriangular Sort SpaceToDepth
    SparseCategoricalCrossentropy SparsePlus SparseSigmoid Sparsemax Split Sqrt Square Squareplus
    Squeeze Stack Std StopGradient Subtract Sum Swapaxes Take TakeAlongAxis Tan Tanh TanhShrink
    Tensordot Threshold Tile TopK Trace Transpose Trapezoid Tril Triu TrueDivide Trunc Unfold
    Unique UnravelIndex Unstack Vander Var Vdot View ViewAsComplex ViewAsReal Vsplit Vstack Where
    ZerosLike
    """
)

# Initializers, regularizers, constraints, dtype policies, quantizers, and parts of layers.
PARTS = listed(
    """
    AWQConfig AWQDTypePolicy AbsMaxQuantizer Constant Constraint CustomScaleLayer DTypePolicy
    DTypePolicyMap Float8QuantizationConfig FloatDTypePolicy GPTQConfig GPTQDTypePolicy
    GlorotNormal GlorotUniform HeNormal HeUniform Identity IdentityInitializer Initializer
    InputSpec Int4DTypePolicy Int4QuantizationConfig Int8QuantizationConfig L1 L1L2 L2 LayerScale
    LecunNormal LecunUniform MaxNorm MinMaxNorm NonNeg Ones Orthogonal OrthogonalInitializer
    OrthogonalRegularizer Policy PolicyV1 QuantizationConfig QuantizedDTypePolicy
    QuantizedFloat8DTypePolicy Quantizer RadialConstraint RandomNormal RandomUniform Regularizer
    STFT STFTInitializer SeedGenerator StochasticDepth TruncatedNormal UnitNorm VarianceScaling
    Zeros
    """
)

CLASSES = LAYERS | OPERATIONS | PARTS

# The layers of edgeq's quantization-aware training, in `converters/training/qat_layers.py`; Keras
# puts the prefix before their names.
QAT_PREFIX = "edgeq>"
QAT_LAYERS = listed(
    """
    FakeQuantize QuantizedConv2D QuantizedDense QuantizedDepthwiseConv2D QuantizedElementwise
    """
)

ACTIVATIONS = listed(
    """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh
    leaky_relu linear log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink
    softmax softplus softsign sparse_plus sparse_sigmoid sparsemax squareplus swish tanh
    tanh_shrink threshold
    """
)

# Written instead of an object: "glorot_uniform" for {"class_name": "GlorotUniform", ...}.
SHORT_NAMES = listed(
    """
    constant gaussian glorot_normal glorot_uniform he_normal he_uniform identity l1 l1_l2 l1l2 l2
    laplacian lecun_normal lecun_uniform max_norm maxnorm min_max_norm non_neg nonneg normal one
    ones orthogonal orthogonal_regularizer radial_constraint random_normal random_uniform stft
    truncated_normal uniform unit_norm unitnorm variance_scaling zero zeros
    """
)

REFUSED = {
    "Lambda": "holds Python code",
    "DropoutWrapper": "can hold Python code",
    "ResidualWrapper": "can hold Python code",
    "DeviceWrapper": "names a device of another machine",
    "TFSMLayer": "opens a SavedModel elsewhere on the disk",
    "TorchModuleWrapper": "holds a pickled PyTorch module",
    "JaxLayer": "holds Python functions",
    "FlaxLayer": "holds a Python module",
    "DenseFeatures": "holds feature columns, which name files and functions",
    "SequenceFeatures": "holds feature columns, which name files and functions",
    "FeatureSpace": "holds preprocessing that names files and functions",
    "DynamicLookup": "holds a Python function",
    "DynamicEmbedding": "holds a Python function",
    "KerasLayer": "opens a model of TensorFlow Hub, here or on the network",
    "Map": "calls a Python function",
    "Scan": "calls a Python function",
    "AssociativeScan": "calls a Python function",
    "Switch": "calls Python functions",
    "Cond": "calls Python functions",
    "WhileLoop": "calls Python functions",
    "ForiLoop": "calls a Python function",
    "VectorizedMap": "calls a Python function",
    "JVP": "calls a Python function",
    "Function": "holds a graph of operations without a form that can be checked",
    "Operation": "is the base class of operations",
}
