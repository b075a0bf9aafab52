// From raw samples to tensors and back: plain Swift, the same on every platform.
//
// Every operation on `Float` is a separate statement, so that it is rounded as it was when the model was
// calibrated; Swift does not fuse a multiplication and an addition.

/// An error in a sample, or in the model that was loaded.
public enum ModelError: Error, Equatable {
    /// The sample does not fit the input; the text says how.
    case wrongSample(String)
    /// The file is missing, or not the model that this code was made for.
    case wrongModel(String)
    /// The runtime refused; the text says what.
    case runtime(String)
}

/// An image: rows from the top, pixels from the left, and for each pixel its channels.
public struct Pixels: Equatable {
    public let values: [UInt8]
    public let height: Int
    public let width: Int
    /// 1 is grey, 3 is red, green, blue.
    public let channels: Int

    public init(_ values: [UInt8], height: Int, width: Int, channels: Int = 3) {
        self.values = values
        self.height = height
        self.width = width
        self.channels = channels
    }
}

/// One output: as the model gives it, and in real units.
public struct Output<Element: Equatable>: Equatable {
    public let values: [Element]
    public let real: [Float]
    public let shape: [Int]
    /// The name of each class; empty without names.
    public let labels: [String]

    /// The largest values with their names (or their numbers, without names), largest first.
    public func top(_ count: Int) -> [(label: String, score: Float)] {
        let order = ranking(real).prefix(max(count, 0))
        return order.map { place in
            (labels.count == real.count ? labels[place] : String(place), real[place])
        }
    }
}

/// The places of values, that of the largest first; of equal ones, the first comes first.
func ranking(_ values: [Float]) -> [Int] {
    return Array(values.indices).sorted { one, other in
        values[one] > values[other] || (values[one] == values[other] && one < other)
    }
}

enum Channels {
    case rgb
    case bgr
    case gray
}

/// How a raw sample becomes real values: `(x * scale + offset - mean) / std`.
struct Preparation {
    /// Size of the resized image; 0 does not resize it.
    let height: Int
    let width: Int
    /// Grey around an image that keeps its proportions; -1 stretches it.
    let pad: Int
    let channels: Channels
    let scale: Float
    let offset: Float
    /// One for each channel, one for all, or none.
    let mean: [Float]
    let std: [Float]
}

/// An image as real values: resized first, then its channels, then its numbers.
func prepare(_ image: Pixels, _ how: Preparation) throws -> [Float] {
    guard image.channels == 1 || image.channels == 3,
        image.height > 0, image.width > 0,
        image.values.count == image.height * image.width * image.channels
    else {
        throw ModelError.wrongSample("Not an image of 1 or 3 channels, or of another size.")
    }
    var changed = image
    if how.height > 0 {
        if how.pad < 0 {
            changed = resize(changed, height: how.height, width: how.width)
        }
        if how.pad >= 0 {
            changed = letterbox(changed, height: how.height, width: how.width, pad: how.pad)
        }
    }
    if how.channels == .gray {
        changed = gray(changed)
    }
    if how.channels == .bgr {
        guard changed.channels == 3 else {
            throw ModelError.wrongSample("A grey image has no blue, green and red.")
        }
        changed = reverse(changed)
    }
    return prepare(changed.values.map { Float($0) }, how)
}

/// Numbers as real values.
func prepare(_ raw: [Float], _ how: Preparation) -> [Float] {
    var real = raw
    for place in 0..<real.count {
        var value = real[place]
        if how.scale != 1 {
            value = value * how.scale
        }
        if how.offset != 0 {
            value = value + how.offset
        }
        if how.mean.count > 0 {
            value = value - how.mean[place % how.mean.count]
        }
        if how.std.count > 0 {
            value = value / how.std[place % how.std.count]
        }
        real[place] = value
    }
    return real
}

/// Grey by ITU-R 601-2, in the integers that Pillow computes it with.
func gray(_ image: Pixels) -> Pixels {
    if image.channels == 1 {
        return image
    }
    var values: [UInt8] = []
    values.reserveCapacity(image.height * image.width)
    for pixel in 0..<(image.height * image.width) {
        let red = Int(image.values[pixel * 3]) * 19595
        let green = Int(image.values[pixel * 3 + 1]) * 38470
        let blue = Int(image.values[pixel * 3 + 2]) * 7471
        values.append(UInt8((red + green + blue + 32768) >> 16))
    }
    return Pixels(values, height: image.height, width: image.width, channels: 1)
}

/// Red, green, blue as blue, green, red.
func reverse(_ image: Pixels) -> Pixels {
    var values = image.values
    for pixel in 0..<(image.height * image.width) {
        values[pixel * 3] = image.values[pixel * 3 + 2]
        values[pixel * 3 + 2] = image.values[pixel * 3]
    }
    return Pixels(values, height: image.height, width: image.width, channels: 3)
}

/// The places that make up one place of a resized line, and the share of each.
struct Shares {
    let first: Int
    /// In units of 1 / 2^22.
    let values: [Int]
}

/// Pillow's bilinear filter, which averages when it makes smaller, and its fixed-point shares.
func shares(from size: Int, to newSize: Int) -> [Shares] {
    let step: Double = Double(size) / Double(newSize)
    let stretch: Double = max(step, 1.0)
    var found: [Shares] = []
    found.reserveCapacity(newSize)
    for place in 0..<newSize {
        let center: Double = (Double(place) + 0.5) * step
        let first = max(Int(center - stretch + 0.5), 0)
        let end = min(Int(center + stretch + 0.5), size)
        var weights: [Double] = []
        var sum: Double = 0.0
        for source in first..<end {
            let distance: Double = abs((Double(source) - center + 0.5) * (1.0 / stretch))
            let weight: Double = max(1.0 - distance, 0.0)
            weights.append(weight)
            sum = sum + weight
        }
        var values: [Int] = []
        for weight in weights {
            values.append(Int(weight / sum * 4194304.0 + 0.5))
        }
        found.append(Shares(first: first, values: values))
    }
    return found
}

/// A byte from a sum of shares, rounded.
func byte(_ sum: Int) -> UInt8 {
    return UInt8(min(max((sum + 2097152) >> 22, 0), 255))
}

/// An image in another size, as Pillow's bilinear filter makes it from bytes: the width first, and
/// each of the two steps rounded to bytes.
func resize(_ image: Pixels, height: Int, width: Int) -> Pixels {
    let channels = image.channels
    var rows = image.values
    if image.width != width {
        let all = shares(from: image.width, to: width)
        rows = [UInt8](repeating: 0, count: image.height * width * channels)
        for row in 0..<image.height {
            for column in 0..<width {
                let own = all[column]
                for channel in 0..<channels {
                    var sum = 0
                    for index in 0..<own.values.count {
                        let source = (row * image.width + own.first + index) * channels + channel
                        sum = sum + Int(image.values[source]) * own.values[index]
                    }
                    rows[(row * width + column) * channels + channel] = byte(sum)
                }
            }
        }
    }
    if image.height == height {
        return Pixels(rows, height: height, width: width, channels: channels)
    }
    let all = shares(from: image.height, to: height)
    let line = width * channels
    var values = [UInt8](repeating: 0, count: height * line)
    for row in 0..<height {
        let own = all[row]
        for place in 0..<line {
            var sum = 0
            for index in 0..<own.values.count {
                sum = sum + Int(rows[(own.first + index) * line + place]) * own.values[index]
            }
            values[row * line + place] = byte(sum)
        }
    }
    return Pixels(values, height: height, width: width, channels: channels)
}

/// An image in another size with its proportions; the rest is grey.
func letterbox(_ image: Pixels, height: Int, width: Int, pad: Int) -> Pixels {
    let channels = image.channels
    let region = findLetterbox(
        image.height, image.width, wholeHeight: height, wholeWidth: width)
    let top = region.top
    let left = region.left
    let rows = region.height
    let columns = region.width
    let inside = resize(image, height: rows, width: columns)
    var values: [UInt8] = []
    values.reserveCapacity(height * width * channels)
    for _ in 0..<(height * width * channels) {
        values.append(UInt8(pad))
    }
    for row in 0..<rows {
        for place in 0..<(columns * channels) {
            values[((top + row) * width + left) * channels + place] =
                inside.values[row * columns * channels + place]
        }
    }
    return Pixels(values, height: height, width: width, channels: channels)
}

/// A part of an image, in pixels.
public struct Region: Equatable {
    public let top: Int
    public let left: Int
    public let height: Int
    public let width: Int
}

/// The place of an image in the middle of a larger one, with its proportions kept.
func findLetterbox(_ height: Int, _ width: Int, wholeHeight: Int, wholeWidth: Int) -> Region {
    let isTall = wholeHeight * width <= wholeWidth * height
    let fitting = (2 * width * wholeHeight + height) / (2 * height)
    let columns = isTall ? max(1, fitting) : wholeWidth
    let high = (2 * height * wholeWidth + width) / (2 * width)
    let rows = isTall ? wholeHeight : max(1, high)
    return Region(
        top: (wholeHeight - rows) / 2, left: (wholeWidth - columns) / 2, height: rows,
        width: columns)
}

/// Refuses what no sample of the calibration held, and no integer stands for.
func requireFinite(_ real: [Float]) throws {
    for value in real {
        guard value.isFinite else {
            throw ModelError.wrongSample("A sample contains NaN or infinity.")
        }
    }
}

/// Real values as the integers of a tensor: half away from zero, then held inside the type.
func quantize<Element: FixedWidthInteger>(
    _ real: [Float], scale: Float, zeroPoint: Int, as type: Element.Type
) -> [Element] {
    let least = Float(Element.min)
    let most = Float(Element.max)
    var quantized: [Element] = []
    quantized.reserveCapacity(real.count)
    for value in real {
        let steps = (value / scale).rounded(.toNearestOrAwayFromZero) + Float(zeroPoint)
        quantized.append(Element(min(max(steps, least), most)))
    }
    return quantized
}

/// The integers of a tensor in real units.
func dequantize<Element: FixedWidthInteger>(
    _ values: [Element], scale: Float, zeroPoint: Int
) -> [Float] {
    return values.map { Float(Int($0) - zeroPoint) * scale }
}

/// An output from its parts: of each block, how often they have their turn, and how many values then.
func join(repeats: [Int], counts: [[Int]], parts: [[Float]]) -> [Float] {
    var whole: [Float] = []
    var first = 0
    for block in 0..<repeats.count {
        for turn in 0..<repeats[block] {
            for part in 0..<counts[block].count {
                let count = counts[block][part]
                for place in 0..<count {
                    whole.append(parts[first + part][turn * count + place])
                }
            }
        }
        first = first + counts[block].count
    }
    return whole
}
