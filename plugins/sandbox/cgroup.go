package sandbox

// cgroups bounds memory, threads and processor time by the kernel.
type cgroups struct{}
