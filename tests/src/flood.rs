//! A flood of datagrams over loopback, which softirqs receive.

/// Sends datagrams to the loopback device as fast as it can, to a socket that drops most of them.
const SENDER: &str = r#"
import socket
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.bind(("127.0.0.1", 0))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.connect(sink.getsockname())
data = bytes(1400)
print("floods", flush=True)
while True:
    out.send(data)
"#;

/// The command of a flood that is received on the CPU that sends it; it says `floods` when it has begun.
#[must_use]
pub fn on_one_cpu() -> [&'static str; 3] {
    ["python3", "-c", SENDER]
}

/// Only a network namespace of one's own has a loopback device whose packets can be steered to a CPU without others' noticing.
const RECEIVED_ON_CPU_1: &str = "mount -t sysfs none /sys && ip link set lo up && \
     echo 2 > /sys/class/net/lo/queues/rx-0/rps_cpus && exec \"$@\"";

/// The command of a flood that is sent on CPU 0 and received on CPU 1; it says `floods` when it has begun. CPU 0 has softirqs as well:
/// those that ask CPU 1 to receive.
#[must_use]
pub fn from_cpu_0_to_cpu_1() -> [&'static str; 13] {
    [
        "taskset",
        "-c",
        "0",
        "unshare",
        "-n",
        "-m",
        "sh",
        "-c",
        RECEIVED_ON_CPU_1,
        "flood",
        "python3",
        "-c",
        SENDER,
    ]
}
