"""All rules, from the bottom of the stack up. A new rule is one function in a file of its layer and one name here."""

from gpucheck.rules.compilers import compiler_missing, libdevice_missing, triton_cannot_compile
from gpucheck.rules.compiling import (
    compiler_for_other_cuda,
    cuda_headers_missing,
    driver_part_missing,
    extension_without_cuda_part,
    host_compiler_too_new,
    program_without_gpu_part,
)
from gpucheck.rules.containers import (
    compute_capability_not_granted,
    gpu_not_passed_to_container,
    sandbox_hides_gpu,
    shared_memory_small,
)
from gpucheck.rules.devices import (
    device_node_missing,
    device_permission_denied,
    device_refused_by_cgroup,
    device_without_driver,
)
from gpucheck.rules.driver_support import (
    gpu_not_initialised,
    gpu_not_supported_by_driver,
    gsp_firmware_missing,
    kernel_module_flavour_wrong,
)
from gpucheck.rules.engines import (
    cdi_newer_than_podman,
    cdi_specification_missing,
    cdi_specification_stale,
    cgroup_rules_not_added,
    cgroups_not_writable,
    container_toolkit_missing,
    cuda_compat_on_host,
    docker_from_snap,
    toolkit_ldconfig_wrong,
    toolkit_older_than_cgroups,
)
from gpucheck.rules.environment import (
    library_path_has_empty_element,
    mps_unreachable,
    stubs_on_library_path,
    variable_misspelt,
)
from gpucheck.rules.extensions import extension_of_other_torch
from gpucheck.rules.fabric import confidential_gpu_not_ready, fabric_not_ready
from gpucheck.rules.frameworks import (
    framework_is_cpu_build,
    gpu_not_covered_by_build,
    import_fails,
    jax_plugin_mismatch,
    ptx_newer_than_driver,
)
from gpucheck.rules.gpu_health import (
    gpu_answers_slowly,
    gpu_inforom_corrupted,
    gpu_needs_reset,
    gpu_reported_fault,
)
from gpucheck.rules.gpu_modes import (
    address_space_limited,
    compute_mode_exclusive,
    gpu_gives_no_context,
    gpu_memory_full,
    mig_change_pending,
    mig_instances_uncounted,
    mig_without_instances,
    vgpu_unlicensed,
)
from gpucheck.rules.hardware import (
    cuda_sees_fewer_gpus,
    gpu_held_by_other_driver,
    gpu_kept_off_bus,
    gpu_lost,
    no_gpu,
)
from gpucheck.rules.images import (
    compat_always_used,
    compute_not_asked_for,
    cuda_twice_in_image,
    label_contradicts_image,
)
from gpucheck.rules.kernel import driver_version_mismatch, hmm_breaks_cuda, uvm_module_missing, uvm_not_working
from gpucheck.rules.kernel_modules import (
    kernel_driver_not_loaded,
    kernel_module_banned,
    kernel_module_not_built,
    kernel_module_refused,
    kernel_module_unsigned,
)
from gpucheck.rules.kubernetes import (
    device_plugin_missing,
    gpu_operator_not_ready,
    gpus_not_allotted,
    runtime_handler_missing,
)
from gpucheck.rules.libcuda import (
    driver_needs_glibc,
    libcuda_for_other_processor,
    libcuda_link_missing,
    libcuda_missing,
    libcuda_off_loader_path,
    libcuda_outside_store,
    libcuda_unloadable,
    ptx_compiler_missing,
)
from gpucheck.rules.libraries import (
    c_library_too_old,
    libraries_do_not_fit,
    library_missing,
    library_older_than_required,
    library_parts_mixed,
    loader_cache_stale,
    preloaded_library_unusable,
)
from gpucheck.rules.limits import (
    code_folder_noexec,
    iommu_between_gpus,
    locked_memory_limited,
    nccl_interface_unknown,
    processor_lacks_avx,
)
from gpucheck.rules.loading import executable_stack_refused, import_order_decides, loading_differs_from_prediction
from gpucheck.rules.packages import (
    companions_for_other_cuda,
    gpu_build_in_other_environment,
    known_bad_pair,
    package_files_missing,
    packages_share_files,
    requirement_unmet,
    wheel_for_other_machine,
)
from gpucheck.rules.projects import (
    base_image_retired,
    base_image_unpinned,
    build_does_not_fit_image,
    compose_asks_for_no_gpu,
    cuda_libraries_doubled,
    environment_hides_gpu_in_dockerfile,
    gpu_extra_missing,
    image_cannot_run_build,
    lock_missing,
    pod_gpus_add_up,
    project_unread,
    wheel_index_contradicts_lock,
)
from gpucheck.rules.requirements import requirement_not_met
from gpucheck.rules.rule import Layer, Rule
from gpucheck.rules.runtimes import driver_older_than_build, driver_too_old, runtime_refused
from gpucheck.rules.shadows import user_packages_hide_others
from gpucheck.rules.switches import (
    allocator_option_unknown,
    extensions_built_for_other_gpus,
    jax_platform_excludes_gpu,
    launches_made_blocking,
    numba_cuda_disabled,
    preload_replaces_driver,
    ptx_compilation_disabled,
    ptx_compilation_forced,
    toolkit_home_wrong,
)
from gpucheck.rules.user_driver import (
    cuda_compat_refused,
    driver_answers_nonsense,
    driver_does_not_answer,
    gpu_unreached,
    libcuda_in_image,
    libcuda_is_stub,
    nvml_fails,
)
from gpucheck.rules.visibility import (
    device_order_ambiguous,
    visible_devices_ends_early,
    visible_devices_hides_gpus,
    visible_devices_not_numbers,
)
from gpucheck.rules.wsl import (
    wsl_libcuda_missing,
    wsl_libcuda_shadowed,
    wsl_libcuda_unversioned,
    wsl_without_gpu,
)

__all__ = ["RULES", "Layer", "Rule"]

RULES: tuple[Rule, ...] = (
    # GPU
    no_gpu,
    gpu_kept_off_bus,
    gpu_lost,
    gpu_needs_reset,
    gpu_reported_fault,
    gpu_inforom_corrupted,
    gpu_answers_slowly,
    gpu_held_by_other_driver,
    compute_mode_exclusive,
    mig_without_instances,
    mig_instances_uncounted,
    mig_change_pending,
    address_space_limited,
    gpu_memory_full,
    vgpu_unlicensed,
    gpu_gives_no_context,
    cuda_sees_fewer_gpus,
    iommu_between_gpus,
    # kernel driver
    kernel_module_not_built,
    kernel_module_unsigned,
    kernel_module_banned,
    kernel_module_refused,
    kernel_driver_not_loaded,
    kernel_module_flavour_wrong,
    gpu_not_supported_by_driver,
    gsp_firmware_missing,
    gpu_not_initialised,
    driver_version_mismatch,
    uvm_module_missing,
    hmm_breaks_cuda,
    uvm_not_working,
    confidential_gpu_not_ready,
    fabric_not_ready,
    wsl_without_gpu,
    # container
    sandbox_hides_gpu,
    gpu_not_passed_to_container,
    compute_capability_not_granted,
    gpus_not_allotted,
    container_toolkit_missing,
    docker_from_snap,
    cgroup_rules_not_added,
    cgroups_not_writable,
    toolkit_ldconfig_wrong,
    cdi_newer_than_podman,
    cdi_specification_missing,
    cdi_specification_stale,
    toolkit_older_than_cgroups,
    cuda_compat_on_host,
    runtime_handler_missing,
    device_plugin_missing,
    gpu_operator_not_ready,
    shared_memory_small,
    compute_not_asked_for,
    label_contradicts_image,
    requirement_not_met,
    # device nodes
    device_node_missing,
    device_permission_denied,
    device_refused_by_cgroup,
    device_without_driver,
    # user driver
    driver_needs_glibc,
    libcuda_is_stub,
    libcuda_for_other_processor,
    libcuda_link_missing,
    libcuda_off_loader_path,
    wsl_libcuda_missing,
    wsl_libcuda_shadowed,
    wsl_libcuda_unversioned,
    cuda_compat_refused,
    libcuda_outside_store,
    libcuda_unloadable,
    libcuda_in_image,
    compat_always_used,
    libcuda_missing,
    ptx_compiler_missing,
    driver_answers_nonsense,
    driver_does_not_answer,
    gpu_unreached,
    nvml_fails,
    driver_part_missing,
    # CUDA runtime
    driver_too_old,
    driver_older_than_build,
    runtime_refused,
    # CUDA libraries
    wheel_for_other_machine,
    packages_share_files,
    package_files_missing,
    loader_cache_stale,
    preloaded_library_unusable,
    c_library_too_old,
    user_packages_hide_others,
    executable_stack_refused,
    libraries_do_not_fit,
    library_parts_mixed,
    library_older_than_required,
    library_missing,
    import_order_decides,
    loading_differs_from_prediction,
    cuda_twice_in_image,
    # frameworks
    gpu_build_in_other_environment,
    requirement_unmet,
    companions_for_other_cuda,
    known_bad_pair,
    framework_is_cpu_build,
    jax_plugin_mismatch,
    extension_of_other_torch,
    import_fails,
    gpu_not_covered_by_build,
    ptx_newer_than_driver,
    triton_cannot_compile,
    libdevice_missing,
    compiler_missing,
    cuda_headers_missing,
    compiler_for_other_cuda,
    host_compiler_too_new,
    extension_without_cuda_part,
    processor_lacks_avx,
    code_folder_noexec,
    program_without_gpu_part,
    # environment
    visible_devices_hides_gpus,
    visible_devices_ends_early,
    visible_devices_not_numbers,
    device_order_ambiguous,
    mps_unreachable,
    jax_platform_excludes_gpu,
    numba_cuda_disabled,
    ptx_compilation_forced,
    ptx_compilation_disabled,
    launches_made_blocking,
    allocator_option_unknown,
    nccl_interface_unknown,
    locked_memory_limited,
    extensions_built_for_other_gpus,
    toolkit_home_wrong,
    preload_replaces_driver,
    stubs_on_library_path,
    library_path_has_empty_element,
    variable_misspelt,
    # project
    project_unread,
    wheel_index_contradicts_lock,
    gpu_extra_missing,
    compose_asks_for_no_gpu,
    image_cannot_run_build,
    build_does_not_fit_image,
    cuda_libraries_doubled,
    environment_hides_gpu_in_dockerfile,
    base_image_retired,
    base_image_unpinned,
    lock_missing,
    pod_gpus_add_up,
)
