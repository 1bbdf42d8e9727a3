// Bounding-box parser of objectness for DeepStream's nvinfer: a row an anchor or cell, suppressed by nvinfer.
//
// Made from config/detector.json by `sightline deploy`. Shapes are read from the engine at run time. What does not fit is
// told on stderr and answered with `false`; nothing is read beyond a tensor's end.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <string>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

// At most this many detections a frame into nvinfer's suppression.
constexpr std::size_t kMostDetections = 30000;

using Layers = std::vector<NvDsInferLayerInfo>;
using Thresholds = std::vector<float>;

bool refused(const std::string& reason) {
    std::fprintf(stderr, "NvDsInferParseCustomObjectness: %s\n", reason.c_str());
    return false;
}

float half_to_float(std::uint16_t half) {
    const int exponent = (half >> 10) & 31;
    const float fraction = static_cast<float>(half & 1023) / 1024.0F;
    float value;
    if (exponent == 31) {
        value = fraction == 0.0F ? HUGE_VALF : NAN;
    } else if (exponent == 0) {
        value = std::ldexp(fraction, -14);
    } else {
        value = std::ldexp(1.0F + fraction, exponent - 15);
    }
    return (half & 0x8000) != 0 ? -value : value;
}

// An output tensor of one frame: nvinfer has removed the batch dimension.
class Output {
public:
    // The output of this name; false, and told, when it is not there or is not numbers.
    bool open(const Layers& layers, const char* name) {
        const auto same = [name](const NvDsInferLayerInfo& layer) {
            return layer.layerName != nullptr && std::strcmp(layer.layerName, name) == 0;
        };
        const auto found = std::find_if(layers.begin(), layers.end(), same);
        if (found == layers.end()) {
            return refused(std::string("the engine has no output `") + name + "`");
        }
        layer_ = &*found;
        // Numbers, because older headers lack the last two names: FLOAT, HALF, INT8, INT32, INT64, UINT8. Copied, because
        // a value without a name must not be read as one.
        static const std::size_t sizes[] = {4, 2, 1, 4, 8, 1};
        static_assert(sizeof layer_->dataType == sizeof type_, "the data type is an int");
        std::memcpy(&type_, &layer_->dataType, sizeof type_);
        if (type_ > 5) {
            return refused(std::string("output `") + name + "` has an unknown data type");
        }
        size_ = sizes[type_];
        const NvDsInferDims& dims = layer_->inferDims;
        if (layer_->buffer == nullptr || dims.numDims > NVDSINFER_MAX_DIMS) {
            return refused(std::string("output `") + name + "` has no buffer, or too many dimensions");
        }
        std::size_t count = 1;
        for (unsigned int axis = 0; axis < dims.numDims; ++axis) {
            const auto length = static_cast<std::int64_t>(dims.d[axis]);
            if (length < 1 || length > 0x7fffffff / static_cast<std::int64_t>(count)) {
                return refused(std::string("output `") + name + "` has no fixed shape");
            }
            count *= static_cast<std::size_t>(length);
            shape_.push_back(static_cast<std::size_t>(length));
        }
        if (count != dims.numElements) {
            return refused(std::string("output `") + name + "` has another number of elements than its shape");
        }
        return true;
    }

    const std::vector<std::size_t>& shape() const { return shape_; }

    bool misfit(const char* expected) const {
        std::string shape;
        for (const std::size_t length : shape_) {
            shape += (shape.empty() ? "" : ", ") + std::to_string(length);
        }
        return refused(std::string("output `") + layer_->layerName + "` is [" + shape + "], expected " + expected);
    }

    // An element by its place in memory.
    float operator[](std::size_t at) const {
        const char* place = static_cast<const char*>(layer_->buffer) + at * size_;
        switch (type_) {
            case 0: return read<float>(place);
            case 1: return half_to_float(read<std::uint16_t>(place));
            case 2: return static_cast<float>(read<std::int8_t>(place));
            case 3: return static_cast<float>(read<std::int32_t>(place));
            case 4: return static_cast<float>(read<std::int64_t>(place));
            default: return static_cast<float>(read<std::uint8_t>(place));
        }
    }

private:
    template <typename T>
    static T read(const char* place) {
        T value;
        std::memcpy(&value, place, sizeof value);
        return value;
    }

    const NvDsInferLayerInfo* layer_ = nullptr;
    unsigned int type_ = 0;
    std::size_t size_ = 0;
    std::vector<std::size_t> shape_;
};

// A row that passed its class's threshold. The box is as the network gives it.
struct Candidate {
    float score;
    std::size_t label;
    std::array<float, 4> box;
};

// The best `most`, best first; of equal scores the earlier.
void keep_best(std::vector<Candidate>& found, std::size_t most) {
    const auto better = [](const Candidate& a, const Candidate& b) { return a.score > b.score; };
    std::stable_sort(found.begin(), found.end(), better);
    if (found.size() > most) {
        found.resize(most);
    }
}

// A row an anchor or cell, each with its best class. nvinfer suppresses (cluster-mode).
bool decode(const Layers& layers, const Thresholds& thresholds, std::vector<Candidate>& found) {
    // Four box numbers, objectness, then the classes.
    constexpr std::size_t kFirst = 5;
    Output output;
    if (!output.open(layers, "output")) {
        return false;
    }
    if (output.shape().size() != 2 || output.shape()[1] <= kFirst) {
        return output.misfit("[rows, 5 + classes]");
    }
    const std::size_t columns = output.shape()[1];
    const std::size_t rows = output.shape()[0];
    if (columns - kFirst < thresholds.size()) {
        return output.misfit("a column for each class of num-detected-classes");
    }
    const auto at = [&](std::size_t row, std::size_t column) { return row * columns + column; };
    const auto activated = [](float value) { return 1.0F / (1.0F + std::exp(-value)); };
    for (std::size_t row = 0; row < rows; ++row) {
        float best = -HUGE_VALF;
        std::size_t label = 0;
        for (std::size_t column = kFirst; column < columns; ++column) {
            const float value = output[at(row, column)];
            if (value > best) {
                best = value;
                label = column - kFirst;
            }
        }
        const float score = activated(output[at(row, 4)]) * activated(best);
        if (label < thresholds.size() && score > thresholds[label]) {
            found.push_back({
                score, label, {output[at(row, 0)], output[at(row, 1)], output[at(row, 2)], output[at(row, 3)]}});
        }
    }
    return true;
}

// Left, top, right and bottom in pixels of the network's input.
std::array<float, 4> corners(const std::array<float, 4>& box, float, float) {
    return {box[0], box[1],
            box[2], box[3]};
}

bool parse(const Layers& layers, const NvDsInferNetworkInfo& network, const NvDsInferParseDetectionParams& params,
           std::vector<NvDsInferObjectDetectionInfo>& objects) {
    // One threshold a class; a class that nvinfer was not told of cannot be reported.
    Thresholds thresholds = params.perClassPreclusterThreshold;
    if (thresholds.size() > params.numClassesConfigured) {
        thresholds.resize(params.numClassesConfigured);
    }
    std::vector<Candidate> found;
    if (!decode(layers, thresholds, found)) {
        return false;
    }
    const auto width = static_cast<float>(network.width);
    const auto height = static_cast<float>(network.height);
    for (Candidate& candidate : found) {
        candidate.box = corners(candidate.box, width, height);
    }
    const auto is_undefined = [](const Candidate& candidate) {
        return !std::all_of(candidate.box.begin(), candidate.box.end(), [](float corner) { return std::isfinite(corner); });
    };
    found.erase(std::remove_if(found.begin(), found.end(), is_undefined), found.end());
    keep_best(found, kMostDetections);
    for (const Candidate& candidate : found) {
        const std::array<float, 4>& box = candidate.box;
        const auto inside = [](float corner, float most) { return std::min(std::max(corner, 0.0F), most); };
        const float left = inside(box[0], width);
        const float top = inside(box[1], height);
        // Value-initialised: DeepStream 9 added `rotation_angle`, and a forgotten one turns boxes.
        NvDsInferObjectDetectionInfo object = {};
        object.classId = static_cast<unsigned int>(candidate.label);
        object.detectionConfidence = candidate.score;
        object.left = left;
        object.top = top;
        object.width = inside(box[2], width) - left;
        object.height = inside(box[3], height) - top;
        if (object.width > 0.0F && object.height > 0.0F) {
            objects.push_back(object);
        }
    }
    return true;
}

}  // namespace

extern "C" bool NvDsInferParseCustomObjectness(
    std::vector<NvDsInferLayerInfo> const& outputLayersInfo, NvDsInferNetworkInfo const& networkInfo,
    NvDsInferParseDetectionParams const& detectionParams, std::vector<NvDsInferObjectDetectionInfo>& objectList) {
    // No exception may leave: the caller is C.
    try {
        return parse(outputLayersInfo, networkInfo, detectionParams, objectList);
    } catch (const std::exception& error) {
        return refused(error.what());
    }
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseCustomObjectness);
