// The part of DeepStream's header that a bounding-box parser sees, for tests on machines without DeepStream. Layouts and
// values are those of DeepStream 9.1 (nvdsinfer.h, nvdsinfer_custom_impl.h); older ones lack `rotation_angle` and the last
// two data types.

#ifndef SIGHTLINE_TESTS_NVDSINFER_CUSTOM_IMPL_H
#define SIGHTLINE_TESTS_NVDSINFER_CUSTOM_IMPL_H

#include <type_traits>
#include <vector>

#define NVDSINFER_MAX_DIMS 8

typedef struct {
    unsigned int numDims;
    unsigned int d[NVDSINFER_MAX_DIMS];
    unsigned int numElements;
} NvDsInferDims;

#ifdef OLD_DEEPSTREAM
typedef enum { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3 } NvDsInferDataType;
#else
typedef enum { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3, INT64 = 4, UINT8 = 5 } NvDsInferDataType;
#endif

typedef struct {
    NvDsInferDataType dataType;
    union {
        NvDsInferDims inferDims;
        NvDsInferDims dims;
    };
    int bindingIndex;
    const char* layerName;
    void* buffer;
    int isInput;
} NvDsInferLayerInfo;

typedef struct {
    unsigned int width;
    unsigned int height;
    unsigned int channels;
} NvDsInferNetworkInfo;

typedef struct {
    unsigned int classId;
    float left;
    float top;
    float width;
    float height;
    float detectionConfidence;
#ifndef OLD_DEEPSTREAM
    float rotation_angle;
#endif
} NvDsInferObjectDetectionInfo;

typedef struct {
    unsigned int numClassesConfigured;
    std::vector<float> perClassPreclusterThreshold;
    std::vector<float> perClassPostclusterThreshold;
    std::vector<float>& perClassThreshold;
} NvDsInferParseDetectionParams;

typedef bool (*NvDsInferParseCustomFunc)(
    std::vector<NvDsInferLayerInfo> const& outputLayersInfo, NvDsInferNetworkInfo const& networkInfo,
    NvDsInferParseDetectionParams const& detectionParams, std::vector<NvDsInferObjectDetectionInfo>& objectList);

#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(function) \
    static_assert(std::is_same<decltype(&function), NvDsInferParseCustomFunc>::value, "another prototype")

#endif
