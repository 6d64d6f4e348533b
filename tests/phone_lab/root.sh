#!/bin/sh
# root.sh LAB MOUNT SOCKET PYTHON: Google's adbd where / looks like a phone.
#
# Run by unshare in mount, pid and network namespaces of its own: nothing here reaches the machine,
# and everything is gone once the first process is. SOCKET is the only way in, because adbd
# listens on every address and asks nobody.
set -eu
umask 022
lab=$1 root=$2 socket=$3
port=7777
adbd=/usr/lib/android-sdk/platform-tools/adbd

mount -t tmpfs -o mode=755,size=256m phone "$root"
cd "$root"
mkdir -p system/bin system/fixture data/local/tmp data/local/full dev proc sys usr lib lib64 etc tmp
ln -s system/bin bin
for folder in usr lib lib64; do mount --rbind -o ro "/$folder" "$folder"; done
for device in null zero full random urandom; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mount -t proc proc proc

cp "$(command -v mksh)" system/bin/sh
cp "$(command -v toybox)" system/bin/toybox
for tool in $(toybox); do [ -e "system/bin/$tool" ] || ln -s toybox "system/bin/$tool"; done
rm -f system/bin/getprop
cp "$lab"/bin/* system/bin/
cp -r "$lab"/fixture/* system/fixture/
chmod -R a+rX system

# The files of /sys are written here: a repository of eight cores' folders would be tedious.
core=0
for speed in "124 1803000" "124 1803000" "124 1803000" "124 1803000" \
    "427 2253000" "427 2253000" "1024 2802000" "1024 2802000"; do
    folder=sys/devices/system/cpu/cpu$core
    mkdir -p "$folder/cpufreq"
    echo "${speed% *}" > "$folder/cpu_capacity"
    echo "${speed#* }" > "$folder/cpufreq/cpuinfo_max_freq"
    core=$((core + 1))
done
mount --bind system/fixture/cpuinfo.txt proc/cpuinfo

# As on a phone, commands run as the user shell, who may write into /data/local/tmp only.
printf 'root:x:0:0:root:/:/system/bin/sh\nshell:x:2000:2000:shell:/:/system/bin/sh\n' > etc/passwd
printf 'root:x:0:\nshell:x:2000:\n' > etc/group
chown 2000:2000 data/local/tmp data/local/full
mount -t tmpfs -o size=64k,uid=2000 full data/local/full

toybox ifconfig lo 127.0.0.1 up
"$4" "$lab/relay.py" "$socket" "$port" &

# Not exec: unshare's signal for when it dies would be lost where the user changes, and this shell,
# as the first process of its namespace, takes everything else with it.
env -i PATH=/system/bin HOME=/ TMPDIR=/data/local/tmp ANDROID_ROOT=/system ANDROID_DATA=/data \
    ADBD_PORT="$port" /usr/sbin/chroot --userspec=2000:2000 . "$adbd"
