//! Memory of this process.

/// The largest resident memory this process has had, in bytes; `None` where the system does not tell.
pub fn peak_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    peak_in(&status)
}

/// The memory of this machine, in bytes; `None` where the system does not tell.
pub fn total_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes_of("MemTotal:", &text)
}

/// Finds `VmHWM: n kB`, the high-water mark of resident memory, in the text of `/proc/self/status`.
fn peak_in(status: &str) -> Option<u64> {
    kibibytes_of("VmHWM:", status)
}

/// Bytes of the line `key n kB`.
fn kibibytes_of(key: &str, text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_read_in_kibibytes() {
        let status = "Name:\trefit\nVmPeak:\t  9000 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 100 kB\n";
        assert_eq!(peak_in(status), Some(2 << 20));
        assert_eq!(peak_in("Name:\trefit\n"), None);
        assert_eq!(peak_in("VmHWM: many kB"), None);
        assert_eq!(
            kibibytes_of("MemTotal:", "MemTotal:       3 kB\n"),
            Some(3072)
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn touching_memory_raises_the_mark() {
        let before = peak_bytes().unwrap();
        let touched = std::hint::black_box(vec![1_u8; 64 << 20]);
        assert_eq!(touched[touched.len() - 1], 1);
        assert!(peak_bytes().unwrap() > before.min(64 << 20));
    }
}
