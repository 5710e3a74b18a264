"""All rules, from the bottom of the stack up. A new rule is one function in a file of its layer and one name here."""

from gpucheck.rules.containers import (
    cgroup_rules_not_added,
    compute_capability_not_granted,
    container_toolkit_missing,
    docker_from_snap,
    gpu_not_passed_to_container,
    shared_memory_small,
)
from gpucheck.rules.devices import (
    device_node_missing,
    device_permission_denied,
    device_refused_by_cgroup,
    device_without_driver,
)
from gpucheck.rules.environment import (
    library_path_has_empty_element,
    mps_unreachable,
    stubs_on_library_path,
    variable_misspelt,
    visible_devices_hides_gpus,
)
from gpucheck.rules.frameworks import (
    framework_is_cpu_build,
    gpu_not_covered_by_build,
    import_fails,
    jax_plugin_mismatch,
)
from gpucheck.rules.hardware import (
    compute_mode_exclusive,
    cuda_sees_fewer_gpus,
    gpu_held_by_other_driver,
    gpu_lost,
    gpu_memory_full,
    gpu_needs_reset,
    mig_without_instances,
    no_gpu,
)
from gpucheck.rules.images import (
    compat_always_used,
    compute_not_asked_for,
    cuda_twice_in_image,
    label_contradicts_image,
)
from gpucheck.rules.kernel import (
    driver_version_mismatch,
    fabric_not_ready,
    hmm_breaks_cuda,
    kernel_driver_not_loaded,
    kernel_module_not_built,
    kernel_module_unsigned,
    uvm_not_working,
)
from gpucheck.rules.loading import loading_differs_from_prediction
from gpucheck.rules.projects import (
    base_image_retired,
    base_image_unpinned,
    build_does_not_fit_image,
    cuda_libraries_doubled,
    environment_hides_gpu_in_dockerfile,
    gpu_extra_missing,
    image_cannot_run_build,
    lock_missing,
    project_unread,
    wheel_index_contradicts_lock,
)
from gpucheck.rules.rule import Layer, Rule
from gpucheck.rules.runtimes import driver_older_than_build, driver_too_old, runtime_refused
from gpucheck.rules.user_driver import (
    cuda_compat_refused,
    driver_does_not_answer,
    gpu_unreached,
    libcuda_in_image,
    libcuda_is_stub,
    libcuda_missing,
    libcuda_off_loader_path,
    libcuda_unloadable,
    wsl_libcuda_shadowed,
)

__all__ = ["RULES", "Layer", "Rule"]

RULES: tuple[Rule, ...] = (
    # GPU
    no_gpu,
    gpu_lost,
    gpu_needs_reset,
    gpu_held_by_other_driver,
    compute_mode_exclusive,
    mig_without_instances,
    gpu_memory_full,
    cuda_sees_fewer_gpus,
    # kernel driver
    kernel_module_not_built,
    kernel_module_unsigned,
    kernel_driver_not_loaded,
    driver_version_mismatch,
    hmm_breaks_cuda,
    uvm_not_working,
    fabric_not_ready,
    # container
    gpu_not_passed_to_container,
    compute_capability_not_granted,
    container_toolkit_missing,
    docker_from_snap,
    cgroup_rules_not_added,
    shared_memory_small,
    compute_not_asked_for,
    label_contradicts_image,
    # device nodes
    device_node_missing,
    device_permission_denied,
    device_refused_by_cgroup,
    device_without_driver,
    # user driver
    libcuda_is_stub,
    libcuda_off_loader_path,
    wsl_libcuda_shadowed,
    cuda_compat_refused,
    libcuda_unloadable,
    libcuda_in_image,
    compat_always_used,
    libcuda_missing,
    driver_does_not_answer,
    gpu_unreached,
    # CUDA runtime
    driver_too_old,
    driver_older_than_build,
    runtime_refused,
    # CUDA libraries
    loading_differs_from_prediction,
    cuda_twice_in_image,
    # frameworks
    framework_is_cpu_build,
    jax_plugin_mismatch,
    import_fails,
    gpu_not_covered_by_build,
    # environment
    visible_devices_hides_gpus,
    mps_unreachable,
    stubs_on_library_path,
    library_path_has_empty_element,
    variable_misspelt,
    # project
    project_unread,
    wheel_index_contradicts_lock,
    gpu_extra_missing,
    image_cannot_run_build,
    build_does_not_fit_image,
    cuda_libraries_doubled,
    environment_hides_gpu_in_dockerfile,
    base_image_retired,
    base_image_unpinned,
    lock_missing,
)
