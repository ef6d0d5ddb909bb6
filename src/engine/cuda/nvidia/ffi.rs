//! The functions of NVIDIA's libraries that are called, by name. Knows no order of calls.
//!
//! Types, numbers and structures are cudarc's, which are made from the headers, and every signature here is held against
//! its own by the compiler. The functions are looked up one by one in a library that was opened by its path, so that a
//! missing library or function is an error and never a panic, and results are integers, so that a newer library may say
//! what nobody here knows yet.

use std::ffi::{CStr, c_char, c_int, c_uchar, c_uint, c_ulonglong, c_void};
use std::path::Path;

use cudarc::cublaslt::sys as cublaslt;
use cudarc::driver::sys as driver;
use cudarc::nccl::sys as nccl;
use cudarc::nvrtc::sys as nvrtc;
use libloading::Library;

use cublaslt::{
    cublasComputeType_t, cublasLtHandle_t, cublasLtMatmulAlgo_t, cublasLtMatmulDesc_t,
    cublasLtMatmulDescAttributes_t, cublasLtMatmulHeuristicResult_t, cublasLtMatmulPreference_t,
    cublasLtMatmulPreferenceAttributes_t, cublasLtMatrixLayout_t, cublasStatus_t, cudaDataType_t,
    cudaStream_t,
};
use driver::{
    CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUevent, CUfunction,
    CUfunction_attribute, CUgraph, CUgraphExec, CUgraphExecUpdateResultInfo, CUgraphNode,
    CUjit_option, CUmodule, CUresult, CUstream, CUstreamCaptureMode,
};
use nccl::{
    cudaStream_t as NcclStream, ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclResult_t, ncclUniqueId,
};
use nvrtc::{nvrtcProgram, nvrtcResult};

/// What a call says.
pub(super) type Status = u32;

/// Success, in all of these libraries.
pub(super) const SUCCESS: Status = CUresult::CUDA_SUCCESS as Status;
const _: () = assert!(ncclResult_t::ncclSuccess as Status == SUCCESS);
const _: () = assert!(nvrtcResult::NVRTC_SUCCESS as Status == SUCCESS);
const _: () = assert!(cublasStatus_t::CUBLAS_STATUS_SUCCESS as Status == SUCCESS);

/// Something of a library's own, such as a `CUstream`, or memory that it allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle<P>(pub(super) P);

impl<T> Handle<*mut T> {
    /// None.
    pub(super) const NULL: Self = Self(std::ptr::null_mut());

    /// Whether it is none.
    pub(super) fn is_null(self) -> bool {
        self.0.is_null()
    }
}

// SAFETY: the libraries take a handle on whatever thread; what a call needs beyond that is what makes the call unsafe.
unsafe impl<T> Send for Handle<*mut T> {}
// SAFETY: as above: nothing is done through a handle but by unsafe calls.
unsafe impl<T> Sync for Handle<*mut T> {}

/// The type that the headers have where ours is another one.
macro_rules! declared {
    ($ours:ty) => {
        $ours
    };
    ($ours:ty as $theirs:ty) => {
        $theirs
    };
}

/// A table of functions, and how it is filled. `as` stands where an argument is not of the type that the headers say.
macro_rules! table {
    (
        $(#[$doc:meta])* $table:ident of $headers:ident, $result:ident {
            $($field:ident: $symbol:ident($($argument:ty $(as $declared:ty)?),*);)*
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
                        // SAFETY: the signature is that of NVIDIA's headers, as is compared below, and they keep it under this name.
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

        // Signatures are those of the headers, but for results.
        const _: () = {
            $(
                let _: unsafe fn($(declared!($argument $(as $declared)?)),*) -> $result =
                    $headers::$symbol;
            )*
            $(let _: unsafe fn($($option_argument),*) -> $result = $headers::$option_symbol;)*
        };

        impl std::fmt::Debug for $table {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($table)).finish_non_exhaustive()
            }
        }
    };
}

table! {
    /// The driver, `libcuda`. Names with `_v2` are those that headers of CUDA 12 and 13 mean by the plain ones.
    DriverTable of driver, CUresult {
        init: cuInit(c_uint);
        version: cuDriverGetVersion(*mut c_int);
        device_count: cuDeviceGetCount(*mut c_int);
        device: cuDeviceGet(*mut CUdevice, c_int);
        device_name: cuDeviceGetName(*mut c_char, c_int, CUdevice);
        device_memory: cuDeviceTotalMem_v2(*mut usize, CUdevice);
        device_attribute: cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
        retain_context: cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
        release_context: cuDevicePrimaryCtxRelease_v2(CUdevice);
        set_context: cuCtxSetCurrent(CUcontext);
        memory_info: cuMemGetInfo_v2(*mut usize, *mut usize);
        allocate: cuMemAlloc_v2(*mut CUdeviceptr, usize);
        free: cuMemFree_v2(CUdeviceptr);
        allocate_host: cuMemHostAlloc(*mut *mut c_void, usize, c_uint);
        free_host: cuMemFreeHost(*mut c_void);
        copy_to_device: cuMemcpyHtoDAsync_v2(CUdeviceptr, *const c_void, usize, CUstream);
        copy_to_host: cuMemcpyDtoHAsync_v2(*mut c_void, CUdeviceptr, usize, CUstream);
        copy_inside: cuMemcpyDtoDAsync_v2(CUdeviceptr, CUdeviceptr, usize, CUstream);
        fill: cuMemsetD8Async(CUdeviceptr, c_uchar, usize, CUstream);
        create_stream: cuStreamCreate(*mut CUstream, c_uint);
        destroy_stream: cuStreamDestroy_v2(CUstream);
        wait_for_stream: cuStreamSynchronize(CUstream);
        begin_capture: cuStreamBeginCapture_v2(CUstream, CUstreamCaptureMode);
        end_capture: cuStreamEndCapture(CUstream, *mut CUgraph);
        graph_nodes: cuGraphGetNodes(CUgraph, *mut CUgraphNode, *mut usize);
        instantiate: cuGraphInstantiateWithFlags(*mut CUgraphExec, CUgraph, c_ulonglong);
        update: cuGraphExecUpdate_v2(CUgraphExec, CUgraph, *mut CUgraphExecUpdateResultInfo);
        launch_graph: cuGraphLaunch(CUgraphExec, CUstream);
        destroy_graph: cuGraphDestroy(CUgraph);
        destroy_executable: cuGraphExecDestroy(CUgraphExec);
        create_event: cuEventCreate(*mut CUevent, c_uint);
        record_event: cuEventRecord(CUevent, CUstream);
        query_event: cuEventQuery(CUevent);
        wait_for_event: cuEventSynchronize(CUevent);
        destroy_event: cuEventDestroy_v2(CUevent);
        load_module: cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut CUjit_option, *mut *mut c_void);
        unload_module: cuModuleUnload(CUmodule);
        function: cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
        set_function_attribute: cuFuncSetAttribute(CUfunction, CUfunction_attribute, c_int);
        launch: cuLaunchKernel(
            CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint,
            c_uint, CUstream, *mut *mut c_void, *mut *mut c_void);
        error_name: cuGetErrorName(Status as CUresult, *mut *const c_char);
        error_text: cuGetErrorString(Status as CUresult, *mut *const c_char);
    }
    where there {
        parameter: cuFuncGetParamInfo(CUfunction, usize, *mut usize, *mut usize);
        between_events: cuEventElapsedTime(*mut f32, CUevent, CUevent);
    }
}

table! {
    /// The compiler, `libnvrtc`.
    CompilerTable of nvrtc, nvrtcResult {
        version: nvrtcVersion(*mut c_int, *mut c_int);
        count_architectures: nvrtcGetNumSupportedArchs(*mut c_int);
        architectures: nvrtcGetSupportedArchs(*mut c_int);
        create: nvrtcCreateProgram(
            *mut nvrtcProgram, *const c_char, *const c_char,
            c_int, *const *const c_char, *const *const c_char);
        compile: nvrtcCompileProgram(nvrtcProgram, c_int, *const *const c_char);
        destroy: nvrtcDestroyProgram(*mut nvrtcProgram);
        log_size: nvrtcGetProgramLogSize(nvrtcProgram, *mut usize);
        log: nvrtcGetProgramLog(nvrtcProgram, *mut c_char);
        cubin_size: nvrtcGetCUBINSize(nvrtcProgram, *mut usize);
        cubin: nvrtcGetCUBIN(nvrtcProgram, *mut c_char);
        ptx_size: nvrtcGetPTXSize(nvrtcProgram, *mut usize);
        ptx: nvrtcGetPTX(nvrtcProgram, *mut c_char);
    }
    where there {}
}

table! {
    /// Products of matrices, `libcublasLt`.
    ProductTable of cublaslt, cublasStatus_t {
        create: cublasLtCreate(*mut cublasLtHandle_t);
        destroy: cublasLtDestroy(cublasLtHandle_t);
        create_operation: cublasLtMatmulDescCreate(*mut cublasLtMatmulDesc_t, cublasComputeType_t, cudaDataType_t);
        set_operation: cublasLtMatmulDescSetAttribute(
            cublasLtMatmulDesc_t, cublasLtMatmulDescAttributes_t, *const c_void, usize);
        destroy_operation: cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t);
        create_layout: cublasLtMatrixLayoutCreate(*mut cublasLtMatrixLayout_t, cudaDataType_t, u64, u64, i64);
        destroy_layout: cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t);
        create_preference: cublasLtMatmulPreferenceCreate(*mut cublasLtMatmulPreference_t);
        set_preference: cublasLtMatmulPreferenceSetAttribute(
            cublasLtMatmulPreference_t, cublasLtMatmulPreferenceAttributes_t, *const c_void, usize);
        destroy_preference: cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t);
        choose: cublasLtMatmulAlgoGetHeuristic(
            cublasLtHandle_t, cublasLtMatmulDesc_t,
            cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
            cublasLtMatmulPreference_t, c_int, *mut cublasLtMatmulHeuristicResult_t, *mut c_int);
        product: cublasLtMatmul(
            cublasLtHandle_t, cublasLtMatmulDesc_t, *const c_void,
            *const c_void, cublasLtMatrixLayout_t, *const c_void, cublasLtMatrixLayout_t,
            *const c_void, *const c_void, cublasLtMatrixLayout_t, *mut c_void, cublasLtMatrixLayout_t,
            *const cublasLtMatmulAlgo_t, *mut c_void, usize, cudaStream_t);
    }
    where there {}
}

table! {
    /// Sums over GPUs, `libnccl`. What a call says is not the driver's numbering.
    CollectiveTable of nccl, ncclResult_t {
        make_id: ncclGetUniqueId(*mut ncclUniqueId);
        join: ncclCommInitRank(*mut ncclComm_t, c_int, ncclUniqueId, c_int);
        sum: ncclAllReduce(
            *const c_void, *mut c_void, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, NcclStream);
        leave: ncclCommAbort(ncclComm_t);
    }
    where there {}
}

impl DriverTable {
    /// `cuMemAlloc: CUDA_ERROR_OUT_OF_MEMORY (out of memory)` where a call failed.
    pub(super) fn judge(&self, call: &str, status: Status) -> Result<(), String> {
        if status == SUCCESS {
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
