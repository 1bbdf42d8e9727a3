//! The names that a pickle may mention. None of them is ever imported: what they would make is known, or kept as data.

use super::object::ElementType;

/// Plain values and PyTorch's tensors.
const PLAIN: &[&str] = &[
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.bool",
    "builtins.bytearray",
    "builtins.bytes",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.object",
    "builtins.range",
    "builtins.set",
    "builtins.slice",
    "builtins.str",
    "builtins.tuple",
    "collections.Counter",
    "collections.OrderedDict",
    "collections.defaultdict",
    "collections.deque",
    "copyreg.__newobj__",
    "copyreg._reconstructor",
    "datetime.date",
    "datetime.datetime",
    "datetime.time",
    "datetime.timedelta",
    "datetime.timezone",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "numpy.ndarray",
    "torch.Size",
    "torch.Tensor",
    "torch._tensor._rebuild_from_type_v2",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.device",
    "torch.nn.parameter.Buffer",
    "torch.nn.parameter.Parameter",
    "torch.serialization._get_layout",
    "types.SimpleNamespace",
];

/// Numbers' types, as they are called in both `torch` and `numpy`, with those that only one of them has.
const NUMBERS: &[&str] = &[
    "bfloat16",
    "bool",
    "bool_",
    "complex128",
    "complex64",
    "float16",
    "float32",
    "float64",
    "float8_e4m3fn",
    "float8_e5m2",
    "int16",
    "int32",
    "int64",
    "int8",
    "uint16",
    "uint32",
    "uint64",
    "uint8",
];

/// Classes whose instances are kept as data, so that a network can be described from them.
const MODULES: &[&str] = &[
    "models.common.",
    "models.experimental.",
    "models.yolo.",
    "torch._C._nn.",
    "torch.nn.backends.",
    "torch.nn.functional.",
    "torch.nn.modules.",
    "torch.nn.parallel.",
    "ultralytics.",
];

/// What instances of [`MODULES`] mention besides.
const BESIDE_MODULES: &[&str] = &["builtins.getattr"];

/// The name as Python 3 and today's libraries have it.
pub(super) fn modern(module: &str, name: &str) -> String {
    let module = match module {
        "__builtin__" => "builtins",
        "copy_reg" => "copyreg",
        "numpy._core.multiarray" => "numpy.core.multiarray",
        "numpy._core.numeric" => "numpy.core.numeric",
        "pathlib._local" => "pathlib",
        other => other,
    };
    format!("{module}.{name}")
}

/// Whether weights and networks may mention the name.
pub(super) fn is_known(name: &str) -> bool {
    PLAIN.binary_search(&name).is_ok()
        || BESIDE_MODULES.contains(&name)
        || MODULES.iter().any(|prefix| name.starts_with(prefix))
        || is_path(name)
        || storage_type(name).is_some()
        || ["torch.", "numpy."].iter().any(|prefix| {
            name.strip_prefix(prefix).is_some_and(|number| NUMBERS.binary_search(&number).is_ok())
        })
        || name.strip_prefix("numpy.dtypes.").is_some_and(|class| class.ends_with("DType"))
}

/// Whether the name is a class of paths.
pub(super) fn is_path(name: &str) -> bool {
    let class = name.strip_prefix("pathlib.").unwrap_or_default();
    ["Path", "PosixPath", "PurePath", "PurePosixPath", "PureWindowsPath", "WindowsPath"].contains(&class)
}

/// The element type of a storage class of PyTorch.
pub(super) fn storage_type(class: &str) -> Option<ElementType> {
    let class = class.strip_prefix("torch.")?;
    let (name, width) = match class.strip_prefix("cuda.").unwrap_or(class) {
        "FloatStorage" => ("F32", 4),
        "HalfStorage" => ("F16", 2),
        "BFloat16Storage" => ("BF16", 2),
        "DoubleStorage" => ("F64", 8),
        "LongStorage" => ("I64", 8),
        "IntStorage" => ("I32", 4),
        "ShortStorage" => ("I16", 2),
        "CharStorage" => ("I8", 1),
        "ByteStorage" | "UntypedStorage" | "storage.UntypedStorage" => ("U8", 1),
        "BoolStorage" => ("BOOL", 1),
        "ComplexFloatStorage" => ("C64", 8),
        "ComplexDoubleStorage" => ("C128", 16),
        // Listed only: the tensors in them are made by what is not followed.
        "QInt8Storage" => ("QI8", 1),
        "QUInt8Storage" => ("QU8", 1),
        "QInt32Storage" => ("QI32", 4),
        _ => return None,
    };
    Some(ElementType { name, width })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_and_closed() {
        assert!(PLAIN.is_sorted() && NUMBERS.is_sorted() && MODULES.is_sorted());
        let known = [
            "collections.OrderedDict",
            "torch.FloatStorage",
            "torch.cuda.HalfStorage",
            "torch.float32",
            "numpy.dtypes.Float64DType",
            "pathlib.PosixPath",
            "torch.nn.modules.conv.Conv2d",
            "ultralytics.nn.tasks.DetectionModel",
            "models.yolo.Model",
        ];
        assert!(known.into_iter().all(is_known));
        let foreign = [
            "os.system",
            "posix.system",
            "nt.system",
            "builtins.eval",
            "builtins.exec",
            "builtins.__import__",
            "torch.load",
            "torch._utils._rebuild_qtensor",
            "torch._utils._rebuild_tensor_v3",
            "numpy.load",
            "ultralytics",
            "models.yolox.x",
            "__main__.Net",
        ];
        assert!(!foreign.into_iter().any(is_known));
        assert_eq!(modern("__builtin__", "eval"), "builtins.eval");
    }
}
