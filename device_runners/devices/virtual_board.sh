#!/bin/bash
# A virtual arm64 board: an arm64 Debian userland under qemu-user with its own sshd on loopback.
#   virtual_board.sh build FOLDER [OTHER]   makes FOLDER/root, FOLDER/key and FOLDER/known_hosts,
#                                           from the board in the folder OTHER where it is given
#   virtual_board.sh start FOLDER PORT      starts sshd; prints the process to kill, with SIGKILL
# As root; needs mmdebstrap, qemu-user-static and openssh-client.
set -euo pipefail
verb=$1 folder=$2 root=$2/root
# QEMU's default processor gives wrong INT8 results without a word; the Raspberry Pi 4's does not.
cpu=cortex-a72

prepare_kernel() {
    local binfmt=/proc/sys/fs/binfmt_misc
    [ -e $binfmt/register ] || mount -t binfmt_misc binfmt_misc $binfmt
    # Flag F: the kernel holds the interpreter open, so nothing has to be copied into the root.
    [ -e $binfmt/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register
}

unpack() {
    # No second stage and no maintainer scripts: unpacked packages are enough for sshd and Python.
    mmdebstrap --quiet --variant=extract --architectures=arm64 \
        --setup-hook='for d in bin sbin lib; do mkdir -p "$1/usr/$d"; ln -s usr/$d "$1/$d"; done' \
        --include=base-files,bash,dash,coreutils,grep,sed,tar,gzip,libc-bin,findutils,procps \
        --include=openssh-server,python3-minimal,libpython3-stdlib,libstdc++6 \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$root"
    rm -rf "$root"/usr/share/{doc,man,locale,perl,info} "$root"/usr/lib/aarch64-linux-gnu/{perl,gconv}
}

copy_from() {
    # Files of its user and of its runs are not copied.
    cp -a --reflink=auto "$1/root" "$root"
    rm -rf "$root"/home/pi "$root"/tmp/* "$root"/var/tmp/*
}

pretend_hardware() {
    # Plain files, no mounts: XNNPACK asks /proc and /sys for an ARM processor. With this machine's
    # own files inside, the runtime crashes; without any, it silently does not use XNNPACK.
    mkdir -p "$root"/proc/device-tree "$root"/sys/devices/system/cpu "$root"/run/sshd "$root"/dev/shm
    for file in possible present online; do echo 0-3 >"$root/sys/devices/system/cpu/$file"; done
    for core in 0 1 2 3; do
        printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n' $core
        printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
        printf 'CPU part\t: 0xd08\nCPU revision\t: 3\n\n'
    done >"$root/proc/cpuinfo"
    printf 'Virtual arm64 board (qemu-user)\0' >"$root/proc/device-tree/model"
    cp /proc/meminfo "$root/proc/meminfo"
    for device in null:1:3 zero:1:5 urandom:1:9 tty:5:0; do
        IFS=: read -r name major minor <<<"$device"
        [ -e "$root/dev/$name" ] || mknod -m 666 "$root/dev/$name" c "$major" "$minor"
    done
    chmod 1777 "$root/dev/shm" "$root/tmp" "$root/var/tmp"
}

make_accounts() {
    printf '%s\n' root:x:0:0::/root:/bin/bash sshd:x:100:65534::/run/sshd:/usr/sbin/nologin \
        pi:x:1000:1000::/home/pi:/bin/bash >"$root/etc/passwd"
    printf '%s\n' root:x:0: sshd:x:100: pi:x:1000: nogroup:x:65534: >"$root/etc/group"
    printf '%s\n' 'root:*:19000::::::' 'sshd:*:19000::::::' 'pi:*:19000::::::' >"$root/etc/shadow"
    chmod 600 "$root/etc/shadow"
    rm -f "$folder"/key "$folder"/key.pub "$root"/etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C edgeq -f "$folder/key"
    mkdir -p "$root/home/pi/.ssh"
    cp "$folder/key.pub" "$root/home/pi/.ssh/authorized_keys"
    chmod 700 "$root/home/pi" "$root/home/pi/.ssh"
    chmod 600 "$root/home/pi/.ssh/authorized_keys"
    chown -R 1000:1000 "$root/home/pi"
    ssh-keygen -q -t ed25519 -N '' -f "$root/etc/ssh/ssh_host_ed25519_key"
}

case $verb in
build)
    prepare_kernel
    if [ $# -gt 2 ]; then copy_from "$3"; else unpack; fi
    pretend_hardware
    make_accounts
    ;;
start)
    port=$3
    prepare_kernel
    printf '%s\n' 'ListenAddress 127.0.0.1' "Port $port" 'HostKey /etc/ssh/ssh_host_ed25519_key' \
        'PermitRootLogin no' 'PasswordAuthentication no' 'KbdInteractiveAuthentication no' \
        'UsePAM no' 'UseDNS no' 'PidFile none' "SetEnv QEMU_CPU=$cpu" \
        >"$root/etc/ssh/sshd_config"
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$root/etc/ssh/ssh_host_ed25519_key.pub")" \
        >"$folder/known_hosts"
    # Its own mounts and processes: what runs in it ends with the process whose number is printed.
    QEMU_CPU=$cpu setsid unshare --mount --pid --fork --kill-child \
        chroot "$root" /usr/sbin/sshd -D -e >"$folder/log" 2>&1 </dev/null &
    echo $!
    ;;
esac
