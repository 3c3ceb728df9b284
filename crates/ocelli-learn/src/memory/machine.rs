//! What Linux says of memory: how much there is, and how much this process holds.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that this process has resident, and the most it has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resident {
    pub now: usize,
    pub peak: usize,
}

/// What this process holds; `None` where the system does not tell.
pub fn resident() -> Option<Resident> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(Resident {
        now: field(&status, "VmRSS:")?,
        peak: field(&status, "VmHWM:")?,
    })
}

/// Bytes that this process can have in all: what is free, less where a control group has less room, and what it holds already. `None`
/// where the system does not tell.
pub fn available() -> Option<usize> {
    let machine = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    let own = resident()?.now;
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let room = group_room(Path::new("/sys/fs/cgroup"), &groups);
    Some(room.map_or(machine, |room| room.min(machine)) + own)
}

/// A field of a file such as `/proc/meminfo`, which counts in KiB, in bytes.
fn field(text: &str, name: &str) -> Option<usize> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// What the tightest control group of `/proc/self/cgroup` leaves: its limit less what it holds and could not give back.
fn group_room(root: &Path, groups: &str) -> Option<usize> {
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, path) = (parts.next()?, parts.next()?);
            let path = path.trim_start_matches('/');
            match controllers {
                "" => tightest(root, path, ["memory.max", "memory.current"]),
                c if c.split(',').any(|c| c == "memory") => tightest(
                    &root.join("memory"),
                    path,
                    ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                ),
                _ => None,
            }
        })
        .min()
}

/// The least room of a group and those around it. Inside of a container the path may lie outside of what is mounted; the root's own
/// files are read then.
fn tightest(root: &Path, path: &str, [limit, usage]: [&str; 2]) -> Option<usize> {
    let number = |folder: &PathBuf, name: &str| -> Option<usize> {
        fs::read_to_string(folder.join(name))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    let own = root.join(path);
    own.ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            let folder = folder.to_owned();
            let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
            let file = stat
                .lines()
                .find_map(|line| line.strip_prefix("inactive_file "))
                .and_then(|n| n.trim().parse::<usize>().ok());
            let held = number(&folder, usage)?.saturating_sub(file.unwrap_or(0));
            Some(number(&folder, limit)?.saturating_sub(held))
        })
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_bytes() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:   1000 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(1_024_000));
        assert_eq!(field(text, "MemFree:"), None);
        assert_eq!(field("MemFree: many kB", "MemFree:"), None);
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/memory.current", "700\n");
        write("a/memory.stat", "anon 5\ninactive_file 200\n");
        write("a/b/memory.max", "max\n");
        write("a/b/memory.current", "10\n");
        // `b` has no limit; `a` has room for 1000 − (700 − 200).
        assert_eq!(group_room(root.path(), "0::/a/b\n"), Some(500));
        assert_eq!(group_room(root.path(), "0::/c\n"), None);
        write("memory/memory.limit_in_bytes", "300\n");
        write("memory/memory.usage_in_bytes", "100\n");
        assert_eq!(
            group_room(root.path(), "4:cpu:/\n3:memory,hugetlb:/docker/x\n"),
            Some(200)
        );
    }

    #[test]
    fn this_process_holds_something() {
        if cfg!(target_os = "linux") {
            let resident = resident().unwrap();
            assert!(resident.now > 0 && resident.now <= resident.peak);
            assert!(available().unwrap() > resident.now);
        }
    }
}
