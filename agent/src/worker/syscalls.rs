//! Numbers of the system calls that no kernel under tuning needs.
//!
//! The numbers are the kernel's ABI and never change. Only 64-bit x86 and ARM are listed.

/// Calls that are refused whatever their arguments: sockets, programs, processes, other processes' memory
/// and signals, mounts, metadata of files (which Landlock does not cover), memory that no limit counts,
/// priorities, clocks, the kernel itself.
#[cfg(target_arch = "x86_64")]
pub(super) const REFUSED: &[i64] = &[
    41,  // socket
    53,  // socketpair
    59,  // execve
    322, // execveat
    57,  // fork
    58,  // vfork
    101, // ptrace
    203, // sched_setaffinity: every candidate runs on the CPUs of the share
    310, // process_vm_readv
    311, // process_vm_writev
    312, // kcmp
    434, // pidfd_open
    438, // pidfd_getfd
    424, // pidfd_send_signal
    200, // tkill
    129, // rt_sigqueueinfo
    297, // rt_tgsigqueueinfo
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    321, // bpf
    298, // perf_event_open
    250, // keyctl
    248, // add_key
    249, // request_key
    272, // unshare
    308, // setns
    165, // mount
    166, // umount2
    155, // pivot_root
    161, // chroot
    429, // move_mount
    428, // open_tree
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    442, // mount_setattr
    304, // open_by_handle_at
    303, // name_to_handle_at
    300, // fanotify_init
    323, // userfaultfd
    319, // memfd_create
    447, // memfd_secret
    29,  // shmget
    64,  // semget
    68,  // msgget
    240, // mq_open
    241, // mq_unlink
    90,  // chmod
    91,  // fchmod
    268, // fchmodat
    452, // fchmodat2
    92,  // chown
    93,  // fchown
    94,  // lchown
    260, // fchownat
    132, // utime
    235, // utimes
    280, // utimensat
    261, // futimesat
    188, // setxattr
    189, // lsetxattr
    190, // fsetxattr
    197, // removexattr
    198, // lremovexattr
    199, // fremovexattr
    160, // setrlimit
    141, // setpriority
    144, // sched_setscheduler
    142, // sched_setparam
    314, // sched_setattr
    251, // ioprio_set
    169, // reboot
    167, // swapon
    168, // swapoff
    246, // kexec_load
    320, // kexec_file_load
    175, // init_module
    313, // finit_module
    176, // delete_module
    164, // settimeofday
    227, // clock_settime
    159, // adjtimex
    305, // clock_adjtime
    170, // sethostname
    171, // setdomainname
    103, // syslog
    163, // acct
    179, // quotactl
    172, // iopl
    173, // ioperm
    154, // modify_ldt
    // The x32 ABI has numbers of its own for some of them.
    514, // ioctl
    520, // execve
    545, // execveat
    521, // ptrace
    539, // process_vm_readv
    540, // process_vm_writev
    524, // rt_sigqueueinfo
    536, // rt_tgsigqueueinfo
    528, // kexec_load
];

/// Calls that are refused whatever their arguments.
#[cfg(target_arch = "aarch64")]
pub(super) const REFUSED: &[i64] = &[
    198, // socket
    199, // socketpair
    221, // execve
    281, // execveat
    117, // ptrace
    122, // sched_setaffinity: every candidate runs on the CPUs of the share
    270, // process_vm_readv
    271, // process_vm_writev
    272, // kcmp
    434, // pidfd_open
    438, // pidfd_getfd
    424, // pidfd_send_signal
    130, // tkill
    138, // rt_sigqueueinfo
    240, // rt_tgsigqueueinfo
    425, // io_uring_setup
    426, // io_uring_enter
    427, // io_uring_register
    280, // bpf
    241, // perf_event_open
    219, // keyctl
    217, // add_key
    218, // request_key
    97,  // unshare
    268, // setns
    40,  // mount
    39,  // umount2
    41,  // pivot_root
    51,  // chroot
    429, // move_mount
    428, // open_tree
    430, // fsopen
    431, // fsconfig
    432, // fsmount
    433, // fspick
    442, // mount_setattr
    265, // open_by_handle_at
    264, // name_to_handle_at
    262, // fanotify_init
    282, // userfaultfd
    279, // memfd_create
    447, // memfd_secret
    194, // shmget
    190, // semget
    186, // msgget
    180, // mq_open
    181, // mq_unlink
    52,  // fchmod
    53,  // fchmodat
    452, // fchmodat2
    55,  // fchown
    54,  // fchownat
    88,  // utimensat
    5,   // setxattr
    6,   // lsetxattr
    7,   // fsetxattr
    14,  // removexattr
    15,  // lremovexattr
    16,  // fremovexattr
    164, // setrlimit
    140, // setpriority
    119, // sched_setscheduler
    118, // sched_setparam
    274, // sched_setattr
    30,  // ioprio_set
    142, // reboot
    224, // swapon
    225, // swapoff
    104, // kexec_load
    294, // kexec_file_load
    105, // init_module
    273, // finit_module
    106, // delete_module
    170, // settimeofday
    112, // clock_settime
    171, // adjtimex
    266, // clock_adjtime
    161, // sethostname
    162, // setdomainname
    116, // syslog
    89,  // acct
    60,  // quotactl
];

/// Calls that are refused for some arguments only.
#[cfg(target_arch = "x86_64")]
pub(super) mod conditional {
    pub(crate) const CLONE: i64 = 56;
    pub(crate) const CLONE3: i64 = 435;
    pub(crate) const KILL: i64 = 62;
    pub(crate) const TGKILL: i64 = 234;
    pub(crate) const PRLIMIT64: i64 = 302;
    pub(crate) const IOCTL: i64 = 16;
    pub(crate) const PRCTL: i64 = 157;
}

/// Calls that are refused for some arguments only.
#[cfg(target_arch = "aarch64")]
pub(super) mod conditional {
    pub(crate) const CLONE: i64 = 220;
    pub(crate) const CLONE3: i64 = 435;
    pub(crate) const KILL: i64 = 129;
    pub(crate) const TGKILL: i64 = 131;
    pub(crate) const PRLIMIT64: i64 = 261;
    pub(crate) const IOCTL: i64 = 29;
    pub(crate) const PRCTL: i64 = 167;
}

/// The same call has a second number on x86: with this bit, by the x32 ABI.
#[cfg(target_arch = "x86_64")]
pub(super) const TWIN_BIT: i64 = 0x4000_0000;

/// No second numbers on ARM.
#[cfg(target_arch = "aarch64")]
pub(super) const TWIN_BIT: i64 = 0;
