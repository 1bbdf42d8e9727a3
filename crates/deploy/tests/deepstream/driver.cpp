// Calls a bounding-box parser as nvinfer does, on tensors in files.
//
//     driver CASE
//
// CASE is a text, fields between tabs: `network WIDTH HEIGHT`, `thresholds T…` (one a class), and for each output
// `layer NAME TYPE FILE DIM…`, of which FILE `-` stands for no buffer and a DIM `=N` states N elements, whatever they are. A buffer is exactly as long as its file, so that a
// sanitizer sees whatever is read beyond it. Prints `true` or `false`, then an object a line.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "nvdsinfer_custom_impl.h"

extern "C" bool PARSER(
    std::vector<NvDsInferLayerInfo> const&, NvDsInferNetworkInfo const&, NvDsInferParseDetectionParams const&,
    std::vector<NvDsInferObjectDetectionInfo>&);

int main(int argc, char** argv) {
    if (argc != 2) {
        return 2;
    }
    std::ifstream file(argv[1]);
    NvDsInferNetworkInfo network = {};
    std::vector<float> thresholds;
    std::vector<NvDsInferLayerInfo> layers;
    std::vector<std::unique_ptr<std::string>> names;
    std::vector<std::unique_ptr<char[]>> buffers;
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        std::vector<std::string> words;
        for (std::string word; std::getline(fields, word, '\t');) {
            words.push_back(word);
        }
        if (words.at(0) == "network") {
            network.width = static_cast<unsigned int>(std::stoul(words.at(1)));
            network.height = static_cast<unsigned int>(std::stoul(words.at(2)));
            network.channels = 3;
        } else if (words.at(0) == "thresholds") {
            for (std::size_t at = 1; at < words.size(); ++at) {
                thresholds.push_back(std::stof(words[at]));
            }
        } else {
            names.push_back(std::make_unique<std::string>(words.at(1)));
            NvDsInferLayerInfo layer = {};
            layer.layerName = names.back()->c_str();
            layer.dataType = static_cast<NvDsInferDataType>(std::stoi(words.at(2)));
            layer.inferDims.numElements = 1;
            for (std::size_t at = 4; at < words.size(); ++at) {
                if (words[at][0] == '=') {
                    layer.inferDims.numElements = static_cast<unsigned int>(std::stoul(words[at].substr(1)));
                    continue;
                }
                const auto length = static_cast<unsigned int>(std::stoul(words[at]));
                if (layer.inferDims.numDims < NVDSINFER_MAX_DIMS) {
                    layer.inferDims.d[layer.inferDims.numDims] = length;
                }
                ++layer.inferDims.numDims;
                layer.inferDims.numElements *= length;
            }
            if (words.at(3) != "-") {
                std::ifstream tensor(words[3], std::ios::binary);
                const std::string bytes((std::istreambuf_iterator<char>(tensor)), std::istreambuf_iterator<char>());
                buffers.push_back(std::make_unique<char[]>(bytes.size()));
                std::memcpy(buffers.back().get(), bytes.data(), bytes.size());
                layer.buffer = buffers.back().get();
            }
            layers.push_back(layer);
        }
    }
    std::vector<float> same = thresholds;
    const NvDsInferParseDetectionParams params{static_cast<unsigned int>(thresholds.size()), thresholds, thresholds, same};
    std::vector<NvDsInferObjectDetectionInfo> objects;
    std::printf("%s\n", PARSER(layers, network, params, objects) ? "true" : "false");
    for (const NvDsInferObjectDetectionInfo& object : objects) {
        float angle = 0.0F;
#ifndef OLD_DEEPSTREAM
        angle = object.rotation_angle;
#endif
        std::printf("%u %.9g %.9g %.9g %.9g %.9g %.9g\n", object.classId, object.left, object.top, object.width,
                    object.height, object.detectionConfidence, angle);
    }
    return 0;
}
