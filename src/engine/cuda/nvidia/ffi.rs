//! The functions of NVIDIA's libraries that are called, by name. Knows no order of calls.
//!
//! They are looked up one by one in a library that was opened by its path, so that a missing library or function is an
//! error and never a panic, and results are integers, so that a newer library may say what nobody here knows yet.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::Path;

use libloading::Library;

/// Something of a library's own: an address nobody here looks behind. Null is 0.
pub(super) type Handle = usize;
/// An address in the device's memory.
pub(super) type Address = u64;
/// What a call says; 0 is success in all of these libraries.
pub(super) type Status = c_int;

/// A table of functions, and how it is filled.
macro_rules! table {
    (
        $(#[$doc:meta])* $table:ident {
            $($field:ident: $symbol:ident($($argument:ty),*);)*
        }
        where there { $($option:ident: $option_symbol:ident($($option_argument:ty),*);)* }
    ) => {
        $(#[$doc])*
        pub(super) struct $table {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> Status,)*
            $(pub(super) $option: Option<unsafe extern "C" fn($($option_argument),*) -> Status>,)*
        }

        impl $table {
            /// The table of a library.
            ///
            /// # Errors
            /// What of it cannot be loaded, in the loader's words.
            pub(super) fn open(path: &Path) -> Result<Self, String> {
                // SAFETY: NVIDIA's libraries may be loaded at any time; which file that is was asked for by the user or
                // lies where the system keeps libraries.
                let library = unsafe { Library::new(path) }.map_err(|error| error.to_string())?;
                let table = Self {
                    $($field: {
                        let name = concat!(stringify!($symbol), "\0").as_bytes();
                        // SAFETY: the signature is that of NVIDIA's headers, which keep it under this name.
                        let found = unsafe { library.get(name) };
                        *found.map_err(|_| concat!("it has no `", stringify!($symbol), "`").to_owned())?
                    },)*
                    $($option: {
                        let name = concat!(stringify!($option_symbol), "\0").as_bytes();
                        // SAFETY: as above.
                        unsafe { library.get(name) }.ok().map(|found| *found)
                    },)*
                };
                // The functions stay as long as the process: these libraries are not made to be unloaded.
                std::mem::forget(library);
                Ok(table)
            }
        }

        impl std::fmt::Debug for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($table)).finish_non_exhaustive()
            }
        }
    };
}

table! {
    /// The driver, `libcuda`. Names with `_v2` are those that headers of CUDA 12 and 13 mean by the plain ones.
    DriverTable {
        init: cuInit(u32);
        version: cuDriverGetVersion(*mut c_int);
        device_count: cuDeviceGetCount(*mut c_int);
        device: cuDeviceGet(*mut c_int, c_int);
        device_name: cuDeviceGetName(*mut c_char, c_int, c_int);
        device_memory: cuDeviceTotalMem_v2(*mut usize, c_int);
        device_attribute: cuDeviceGetAttribute(*mut c_int, c_int, c_int);
        retain_context: cuDevicePrimaryCtxRetain(*mut Handle, c_int);
        release_context: cuDevicePrimaryCtxRelease_v2(c_int);
        set_context: cuCtxSetCurrent(Handle);
        memory_info: cuMemGetInfo_v2(*mut usize, *mut usize);
        allocate: cuMemAlloc_v2(*mut Address, usize);
        free: cuMemFree_v2(Address);
        allocate_host: cuMemHostAlloc(*mut Handle, usize, u32);
        free_host: cuMemFreeHost(Handle);
        copy_to_device: cuMemcpyHtoDAsync_v2(Address, *const c_void, usize, Handle);
        copy_to_host: cuMemcpyDtoHAsync_v2(*mut c_void, Address, usize, Handle);
        copy_inside: cuMemcpyDtoDAsync_v2(Address, Address, usize, Handle);
        fill: cuMemsetD8Async(Address, u8, usize, Handle);
        create_stream: cuStreamCreate(*mut Handle, u32);
        destroy_stream: cuStreamDestroy_v2(Handle);
        wait_for_stream: cuStreamSynchronize(Handle);
        begin_capture: cuStreamBeginCapture_v2(Handle, c_int);
        end_capture: cuStreamEndCapture(Handle, *mut Handle);
        graph_nodes: cuGraphGetNodes(Handle, *mut Handle, *mut usize);
        instantiate: cuGraphInstantiateWithFlags(*mut Handle, Handle, u64);
        update: cuGraphExecUpdate_v2(Handle, Handle, *mut UpdateResult);
        launch_graph: cuGraphLaunch(Handle, Handle);
        destroy_graph: cuGraphDestroy(Handle);
        destroy_executable: cuGraphExecDestroy(Handle);
        create_event: cuEventCreate(*mut Handle, u32);
        record_event: cuEventRecord(Handle, Handle);
        query_event: cuEventQuery(Handle);
        wait_for_event: cuEventSynchronize(Handle);
        destroy_event: cuEventDestroy_v2(Handle);
        load_module: cuModuleLoadDataEx(*mut Handle, *const c_void, u32, *mut c_int, *mut Handle);
        unload_module: cuModuleUnload(Handle);
        function: cuModuleGetFunction(*mut Handle, Handle, *const c_char);
        set_function_attribute: cuFuncSetAttribute(Handle, c_int, c_int);
        launch: cuLaunchKernel(Handle, u32, u32, u32, u32, u32, u32, u32, Handle, *mut Handle, *mut Handle);
        error_name: cuGetErrorName(Status, *mut *const c_char);
        error_text: cuGetErrorString(Status, *mut *const c_char);
    }
    where there {
        parameter: cuFuncGetParamInfo(Handle, usize, *mut usize, *mut usize);
    }
}

table! {
    /// The compiler, `libnvrtc`.
    CompilerTable {
        version: nvrtcVersion(*mut c_int, *mut c_int);
        count_architectures: nvrtcGetNumSupportedArchs(*mut c_int);
        architectures: nvrtcGetSupportedArchs(*mut c_int);
        create: nvrtcCreateProgram(*mut Handle, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char);
        compile: nvrtcCompileProgram(Handle, c_int, *const *const c_char);
        destroy: nvrtcDestroyProgram(*mut Handle);
        log_size: nvrtcGetProgramLogSize(Handle, *mut usize);
        log: nvrtcGetProgramLog(Handle, *mut c_char);
        cubin_size: nvrtcGetCUBINSize(Handle, *mut usize);
        cubin: nvrtcGetCUBIN(Handle, *mut c_char);
        ptx_size: nvrtcGetPTXSize(Handle, *mut usize);
        ptx: nvrtcGetPTX(Handle, *mut c_char);
    }
    where there {}
}

table! {
    /// Products of matrices, `libcublasLt`.
    ProductTable {
        create: cublasLtCreate(*mut Handle);
        destroy: cublasLtDestroy(Handle);
        create_operation: cublasLtMatmulDescCreate(*mut Handle, c_int, c_int);
        set_operation: cublasLtMatmulDescSetAttribute(Handle, c_int, *const c_void, usize);
        destroy_operation: cublasLtMatmulDescDestroy(Handle);
        create_layout: cublasLtMatrixLayoutCreate(*mut Handle, c_int, u64, u64, i64);
        destroy_layout: cublasLtMatrixLayoutDestroy(Handle);
        create_preference: cublasLtMatmulPreferenceCreate(*mut Handle);
        set_preference: cublasLtMatmulPreferenceSetAttribute(Handle, c_int, *const c_void, usize);
        destroy_preference: cublasLtMatmulPreferenceDestroy(Handle);
        choose: cublasLtMatmulAlgoGetHeuristic(Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Chosen, *mut c_int);
        product: cublasLtMatmul(
            Handle, Handle, *const c_void,
            Address, Handle, Address, Handle, *const c_void, Address, Handle, Address, Handle,
            *const Algorithm, Address, usize, Handle);
    }
    where there {}
}

table! {
    /// Sums over GPUs, `libnccl`. What a call says is not the driver's numbering.
    CollectiveTable {
        make_id: ncclGetUniqueId(*mut GroupId);
        join: ncclCommInitRank(*mut Handle, c_int, GroupId, c_int);
        sum: ncclAllReduce(Address, Address, usize, c_int, c_int, Handle, Handle);
        leave: ncclCommAbort(Handle);
    }
    where there {}
}

/// What the members of a group know it by.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupId {
    pub(super) bytes: [u8; 128],
}

/// Why a graph could not be updated.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UpdateResult {
    pub(super) result: c_int,
    pub(super) node: Handle,
    pub(super) from: Handle,
}

/// A way to multiply, as cuBLASLt keeps it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Algorithm {
    pub(super) data: [u64; 8],
}

/// A way to multiply that was chosen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chosen {
    pub(super) algorithm: Algorithm,
    pub(super) workspace: usize,
    pub(super) state: Status,
    pub(super) waves: f32,
    pub(super) reserved: [c_int; 4],
}

macro_rules! constants {
    ($type:ty: $($name:ident = $value:literal;)*) => {
        $(pub(super) const $name: $type = $value;)*
    };
}

// As NVIDIA's headers number them, under their names; `tests` hold them against another program's list.
constants! { c_int:
    CUDA_ERROR_OUT_OF_MEMORY = 2;
    CUDA_ERROR_NO_DEVICE = 100;
    CUDA_ERROR_NOT_READY = 600;
    CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910;
    CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT = 16;
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR = 75;
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR = 76;
    CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN = 97;
    CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES = 8;
    CU_STREAM_CAPTURE_MODE_RELAXED = 2;
    NVRTC_ERROR_COMPILATION = 6;
    NCCL_FLOAT32 = 7;
    NCCL_SUM = 0;
    CUDA_R_32F = 0;
    CUDA_R_16BF = 14;
    CUBLAS_COMPUTE_32F = 68;
    CUBLASLT_MATMUL_DESC_TRANSA = 3;
    CUBLASLT_MATMUL_DESC_TRANSB = 4;
    CUBLASLT_MATMUL_DESC_EPILOGUE = 7;
    CUBLASLT_MATMUL_DESC_BIAS_POINTER = 8;
    CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE = 26;
    CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1;
    CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK = 3;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES = 6;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES = 7;
    CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES = 8;
}
constants! { u32:
    CU_STREAM_NON_BLOCKING = 1;
    CU_EVENT_DISABLE_TIMING = 2;
    CUBLASLT_EPILOGUE_BIAS = 4;
    CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE = 2;
}

impl DriverTable {
    /// `cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)` where a call failed.
    pub(super) fn judge(&self, call: &str, status: Status) -> Result<(), String> {
        if status == 0 {
            return Ok(());
        }
        let word = |of: unsafe extern "C" fn(Status, *mut *const c_char) -> Status| {
            let mut text = std::ptr::null();
            // SAFETY: the driver sets the pointer to text of its own that stays, or leaves it.
            unsafe {
                of(status, &raw mut text);
                match text.is_null() {
                    true => None,
                    false => Some(CStr::from_ptr(text).to_string_lossy().into_owned()),
                }
            }
        };
        let name = word(self.error_name).unwrap_or_else(|| format!("error {status}"));
        Err(match word(self.error_text) {
            Some(text) => format!("{call}: {name} ({text})"),
            None => format!("{call}: {name}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cudarc::cublaslt::sys as blas;
    use cudarc::driver::sys as cuda;

    /// cudarc's numbers are generated from the headers of CUDA 12.8.
    macro_rules! same {
        ($($theirs:expr => $ours:expr,)*) => {
            $(assert_eq!(i64::from($theirs as u32), i64::from($ours), stringify!($theirs));)*
        };
    }

    #[test]
    fn numbers_and_structures_are_those_of_the_headers() {
        use blas::{
            cublasComputeType_t as Compute, cublasLtEpilogue_t as Epilogue,
            cublasLtMatmulDescAttributes_t as Operation,
            cublasLtMatmulPreferenceAttributes_t as Preference, cudaDataType_t as Data,
        };
        use cuda::{CUdevice_attribute as Device, cudaError_enum as Error};
        same! {
            Error::CUDA_ERROR_OUT_OF_MEMORY => CUDA_ERROR_OUT_OF_MEMORY,
            Error::CUDA_ERROR_NO_DEVICE => CUDA_ERROR_NO_DEVICE,
            Error::CUDA_ERROR_NOT_READY => CUDA_ERROR_NOT_READY,
            Error::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE => CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE,
            Device::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT => CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            Device::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            Device::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            Device::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN,
            cuda::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES => CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
            cuda::CUstreamCaptureMode_enum::CU_STREAM_CAPTURE_MODE_RELAXED => CU_STREAM_CAPTURE_MODE_RELAXED,
            cuda::CUstream_flags_enum::CU_STREAM_NON_BLOCKING => CU_STREAM_NON_BLOCKING,
            cuda::CUevent_flags_enum::CU_EVENT_DISABLE_TIMING => CU_EVENT_DISABLE_TIMING,
            cudarc::nvrtc::sys::nvrtcResult::NVRTC_ERROR_COMPILATION => NVRTC_ERROR_COMPILATION,
            cudarc::nccl::sys::ncclDataType_t::ncclFloat32 => NCCL_FLOAT32,
            cudarc::nccl::sys::ncclRedOp_t::ncclSum => NCCL_SUM,
            Data::CUDA_R_32F => CUDA_R_32F,
            Data::CUDA_R_16BF => CUDA_R_16BF,
            Compute::CUBLAS_COMPUTE_32F => CUBLAS_COMPUTE_32F,
            Operation::CUBLASLT_MATMUL_DESC_TRANSA => CUBLASLT_MATMUL_DESC_TRANSA,
            Operation::CUBLASLT_MATMUL_DESC_TRANSB => CUBLASLT_MATMUL_DESC_TRANSB,
            Operation::CUBLASLT_MATMUL_DESC_EPILOGUE => CUBLASLT_MATMUL_DESC_EPILOGUE,
            Operation::CUBLASLT_MATMUL_DESC_BIAS_POINTER => CUBLASLT_MATMUL_DESC_BIAS_POINTER,
            Operation::CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE => CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
            Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES => CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK => CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES => CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES => CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES => CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
            Preference::CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES => CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            Epilogue::CUBLASLT_EPILOGUE_BIAS => CUBLASLT_EPILOGUE_BIAS,
            blas::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE => CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE,
        }
        assert_eq!(
            size_of::<Algorithm>(),
            size_of::<blas::cublasLtMatmulAlgo_t>()
        );
        assert_eq!(
            size_of::<Chosen>(),
            size_of::<blas::cublasLtMatmulHeuristicResult_t>()
        );
        let theirs = size_of::<cudarc::nccl::sys::ncclUniqueId>();
        assert_eq!(size_of::<GroupId>(), theirs);
        let place = std::mem::offset_of!(blas::cublasLtMatmulHeuristicResult_t, state);
        assert_eq!(std::mem::offset_of!(Chosen, state), place);
        assert_eq!(
            size_of::<UpdateResult>(),
            size_of::<cuda::CUgraphExecUpdateResultInfo_st>()
        );
    }
}
