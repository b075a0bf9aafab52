// From sounds to the features that the model was trained with: plain Swift, in `Double`.

import Foundation

/// How a sound becomes features; the tables are those that edgeq computed.
struct FrontEnd {
    /// Samples per second.
    let rate: Int
    /// Samples from one frame to the next.
    let hop: Int
    /// Points of the Fourier transform: the odd factor, and how often it is doubled.
    let fft: Int
    let odd: Int
    let levels: Int
    let frames: Int
    /// Whether bands add magnitudes instead of energies.
    let takesRoots: Bool
    let floor: Double
    /// Factor of each sample of a frame.
    let taper: [Double]
    /// Cosines and sines of the circle.
    let cosines: [Double]
    let sines: [Double]
    /// The first frequency, the number of frequencies and all weights of the mel bands; empty without.
    let starts: [Int]
    let counts: [Int]
    let weights: [Double]
    /// The cosine transform; empty without.
    let transform: [Double]
}

/// Signed samples of 16 bits as real values.
func realSamples(_ samples: [Int16]) -> [Float] {
    return samples.map { Float($0) / 32768 }
}

/// The features, one frame after the other; a longer sound is cut, silence follows a shorter one.
func computeFeatures(_ samples: [Float], _ how: FrontEnd, rate: Int) throws -> [Float] {
    guard rate == how.rate else {
        throw ModelError.wrongSample(
            "The sound has \(rate) samples per second, not \(how.rate): convert it.")
    }
    let order = leafOrder(how.levels)
    var features: [Float] = []
    for frame in 0..<how.frames {
        let energies = frameEnergies(samples, how, from: frame * how.hop, order: order)
        let bands = bandLogarithms(energies, how)
        for value in cosineTransform(bands, how) {
            features.append(Float(value))
        }
    }
    return features
}

/// The numbers of the small transforms with their bits reversed.
func leafOrder(_ levels: Int) -> [Int] {
    var order = [0]
    for _ in 0..<levels {
        var longer: [Int] = []
        for place in order {
            longer.append(2 * place)
        }
        for place in order {
            longer.append(2 * place + 1)
        }
        order = longer
    }
    return order
}

/// The spectrum of a frame: small transforms of the odd factor, then butterflies of radix 2.
func frameEnergies(
    _ samples: [Float], _ how: FrontEnd, from first: Int, order: [Int]
) -> [Double] {
    var real = [Double](repeating: 0, count: how.fft)
    var imaginary = [Double](repeating: 0, count: how.fft)
    let leaves = order.count
    for leaf in 0..<leaves {
        for k in 0..<how.odd {
            var sum = 0.0
            var other = 0.0
            for j in 0..<how.odd {
                let place = order[leaf] + j * leaves
                if place < how.taper.count, first + place < samples.count {
                    let value = Double(samples[first + place]) * how.taper[place]
                    let turn = j * k % how.odd * leaves
                    sum = sum + value * how.cosines[turn]
                    other = other - value * how.sines[turn]
                }
            }
            real[leaf * how.odd + k] = sum
            imaginary[leaf * how.odd + k] = other
        }
    }
    var half = how.odd
    for _ in 0..<how.levels {
        let blocks = how.fft / (2 * half)
        for block in 0..<blocks {
            for k in 0..<half {
                let low = 2 * half * block + k
                let high = low + half
                let cosine = how.cosines[k * blocks]
                let sine = how.sines[k * blocks]
                let turned = real[high] * cosine + imaginary[high] * sine
                let other = imaginary[high] * cosine - real[high] * sine
                real[high] = real[low] - turned
                imaginary[high] = imaginary[low] - other
                real[low] = real[low] + turned
                imaginary[low] = imaginary[low] + other
            }
        }
        half = 2 * half
    }
    var energies: [Double] = []
    for place in 0..<(how.fft / 2 + 1) {
        let energy = real[place] * real[place] + imaginary[place] * imaginary[place]
        energies.append(how.takesRoots ? sqrt(energy) : energy)
    }
    return energies
}

/// The logarithms of the mel bands; the spectrum itself without bands.
func bandLogarithms(_ energies: [Double], _ how: FrontEnd) -> [Double] {
    if how.starts.count == 0 {
        return energies
    }
    var bands: [Double] = []
    var weight = 0
    for band in how.starts.indices {
        var sum = 0.0
        for place in 0..<how.counts[band] {
            sum = sum + energies[how.starts[band] + place] * how.weights[weight]
            weight = weight + 1
        }
        bands.append(log(sum + how.floor))
    }
    return bands
}

/// The cepstral coefficients; the bands themselves without a transform.
func cosineTransform(_ bands: [Double], _ how: FrontEnd) -> [Double] {
    if how.transform.count == 0 {
        return bands
    }
    let size = how.transform.count / bands.count
    var found: [Double] = []
    for place in 0..<size {
        var sum = 0.0
        for band in bands.indices {
            sum = sum + bands[band] * how.transform[band * size + place]
        }
        found.append(sum)
    }
    return found
}
