"""Label-free fine-tuning: a quantization-aware model learns to answer as its FP32 teacher does.

A class label is one number for a sample, the teacher's outputs are many, so a few hundred
calibration samples are enough to move weights by the fraction of a step that rounding needs. The
training set is not necessary.

The loss depends on the kind of output. After a softmax or sigmoid it is the Kullback-Leibler
divergence of the teacher's probabilities from the student's (Hinton et al. 2015, temperature 1),
taken on the student's logits: the squared error of probabilities has no gradient where they
saturate, and that of logits would count a constant that a softmax ignores. All other outputs
(logits that are the model's own result, regression) have the squared error as loss, divided by the
teacher's variance, so that outputs in different units weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from edgeq.converters.samples.open_samples import choose, open_samples
from edgeq.converters.samples.preprocessing import parse_preprocessing
from edgeq.converters.tracing import wrapping
from edgeq.converters.training.learned_ranges import trained_granularity
from edgeq.converters.training.qat_layers import FakeQuantize, observing
from edgeq.errors import DataError, UsageError

Arrays = list[NDArray[Any]]
_Loss = Callable[[Any, Any], Any]

_TINY = 1e-7


def distill(
    student: Any,
    teacher: Any,
    data: Any,
    *,
    epochs: int = 10,
    learning_rate: float = 1e-4,
    batch_size: int = 32,
    samples: int | None = None,
    preprocess: Sequence[str] = (),
    seed: int = 0,
) -> Any:
    """Fine-tune a quantization-aware model on unlabelled samples to match its FP32 teacher.

    The samples are held in memory. Dropout is off, for student and teacher, and batch
    normalization frozen; ranges follow the samples. The same seed on the same machine gives the
    same model, up to the order in which several cores add floating-point numbers.

    Args:
        student: what `quantization_aware` returns, trained or not; left as it is.
        teacher: the FP32 Keras model, with the same inputs and outputs.
        data: as for `convert`; labels are ignored.
        epochs: passes over the samples.
        learning_rate: of Adam, at the start; it falls to 0 along half a cosine.
        batch_size: samples per step.
        samples: how many to use, None for all.
        preprocess: `--preprocess` texts, e.g. "scale=1/255".
        seed: of the choice and the order of samples.

    Returns:
        The fine-tuned student, a new model.

    Raises:
        UsageError: the student is not quantization-aware, or the two models do not match.
        DataError: the samples do not fit the model, or training diverged.
    """
    if trained_granularity(student) is None:
        raise UsageError(
            f"The student {getattr(student, 'name', student)!r} is not quantization-aware.",
            hint="Make it with edgeq.quantization_aware(teacher).",
        )
    for name, number in (("epochs", epochs), ("batch_size", batch_size)):
        if number < 1:
            raise UsageError(f"{name} must be 1 or more, not {number}.")
    if not 0 < learning_rate < float("inf"):
        raise UsageError(f"learning_rate must be a finite number above 0, not {learning_rate}.")
    loaded = wrapping.wrap_keras(student, "keras")
    texts = [preprocess] if isinstance(preprocess, str) else list(preprocess)
    opened = open_samples(data, loaded.inputs, parse_preprocessing(texts, loaded.inputs))
    chosen = None if samples is None else choose(opened, samples, seed)
    rows = [sample.inputs for sample in opened.iterate(chosen)]
    inputs = [np.stack([row[spec.name] for row in rows]) for spec in loaded.inputs]
    targets = _ask_teacher(teacher, loaded, inputs, student, batch_size)
    trained = type(student).from_config(student.get_config())
    trained.set_weights(student.get_weights())
    tensors, losses = _losses(trained, targets)
    trainee = keras.Model(trained.inputs, tensors)
    _fit(trainee, losses, inputs, targets, epochs, learning_rate, batch_size, seed)
    return trained


def _ask_teacher(
    teacher: Any, loaded: wrapping.Loaded, inputs: Arrays, student: Any, batch_size: int
) -> Arrays:
    """The teacher's outputs for all samples, in the order of the student's."""
    asked = wrapping.wrap_live(teacher)
    names = [spec.name for spec in loaded.inputs]
    if {spec.name for spec in asked.inputs} == set(names):
        inputs = [inputs[names.index(spec.name)] for spec in asked.inputs]
    shapes = [tuple(tensor.shape[1:]) for tensor in student.outputs]
    given = [tuple(tensor.shape[1:]) for tensor in getattr(teacher, "outputs", ())]
    if len(asked.inputs) != len(names) or given != shapes:
        raise UsageError(
            f"The teacher has {len(asked.inputs)} inputs and outputs {given}, the student "
            f"{len(names)} and {shapes}.",
            hint="The teacher is the model that quantization_aware() was called on.",
        )
    run = tf.function(lambda *tensors: asked.call(list(tensors)), reduce_retracing=True)
    parts = [
        [np.asarray(value) for value in run(*(tf.constant(a[i : i + batch_size]) for a in inputs))]
        for i in range(0, len(inputs[0]), batch_size)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _losses(trained: Any, targets: Arrays) -> tuple[list[Any], list[_Loss]]:
    """Per output the student's tensor to compare, and the loss to compare it with."""
    divergences = {"softmax": _softmax_divergence, "sigmoid": _sigmoid_divergence}
    tensors: list[Any] = []
    losses: list[_Loss] = []
    for output, target in zip(trained.outputs, targets, strict=True):
        logits, activation = _before_activation(output)
        tensors.append(logits)
        variance = max(float(np.var(target)), _TINY)
        losses.append(divergences.get(activation) or _squared_error(variance))
    return tensors, losses


def _before_activation(output: Any) -> tuple[Any, str]:
    """The logits behind a final softmax or sigmoid with its name; otherwise the output."""
    tensor = output
    while isinstance(tensor._keras_history.operation, (keras.layers.Identity, FakeQuantize)):
        tensor = tensor._keras_history.operation.input
    final = tensor._keras_history.operation
    if isinstance(final, keras.layers.Activation):
        name = keras.activations.serialize(final.activation)
        if name in ("softmax", "sigmoid"):
            return final.input, name
    return output, ""


def _softmax_divergence(target: Any, logits: Any) -> Any:
    known = tf.math.log(tf.maximum(target, _TINY))
    return tf.reduce_mean(tf.reduce_sum(target * (known - tf.nn.log_softmax(logits)), axis=-1))


def _sigmoid_divergence(target: Any, logits: Any) -> Any:
    inside = tf.clip_by_value(target, _TINY, 1 - _TINY)
    entropy = inside * tf.math.log(inside) + (1 - inside) * tf.math.log(1 - inside)
    crossed = tf.nn.sigmoid_cross_entropy_with_logits(labels=inside, logits=logits)
    return tf.reduce_mean(crossed + entropy)


def _squared_error(variance: float) -> _Loss:
    return lambda target, output: tf.reduce_mean(tf.square(output - target)) / variance


def _fit(
    trainee: Any,
    losses: list[_Loss],
    inputs: Arrays,
    targets: Arrays,
    epochs: int,
    learning_rate: float,
    batch_size: int,
    seed: int,
) -> None:
    """Adam over shuffled batches; the last, smaller batch of an epoch counts as well."""
    count = len(inputs[0])
    steps = epochs * -(-count // batch_size)
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps))
    optimizer.build(trainee.trainable_variables)
    structure = trainee.input

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator, unused-ignore]
    def step(taken: list[Any], wanted: list[Any]) -> Any:
        with tf.GradientTape() as tape, observing():
            given = tf.nest.flatten(
                trainee(tf.nest.pack_sequence_as(structure, taken), training=False)
            )
            parts = zip(losses, wanted, given, strict=True)
            loss = tf.add_n([compare(target, value) for compare, target, value in parts])
        variables = [variable.value for variable in trainee.trainable_variables]
        optimizer.apply(tape.gradient(loss, variables), trainee.trainable_variables)
        return loss

    random = np.random.default_rng(seed)
    for _ in range(epochs):
        order = random.permutation(count)
        for start in range(0, count, batch_size):
            rows = order[start : start + batch_size]
            loss = step(
                [tf.constant(array[rows]) for array in inputs],
                [tf.constant(array[rows]) for array in targets],
            )
        if not np.isfinite(loss):
            raise DataError(
                f"Distillation diverged: the loss is {float(loss)}.",
                hint=f"Pass a learning_rate below {learning_rate:g}, or look for NaN in the data.",
            )
