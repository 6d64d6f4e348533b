#!/bin/sh
# root.sh LAB FOLDER PYTHON LITERT DAEMON: a phone's side of adb where / looks like a phone.
#
# DAEMON is "adbd" for Google's own, or "python" for daemon.py.
#
# Run by unshare in mount, pid and network namespaces of its own: nothing here reaches the machine,
# and everything is gone once the first process is. FOLDER/adbd.sock is the only way in, because
# adbd listens on every address and asks nobody. FOLDER/data outlives a boot, as on a phone, and
# FOLDER/fixture is what the phone says about itself, which a test may change at any time.
set -eu
umask 022
lab=$1 folder=$2 python=$3 litert=$4 daemon=$5
port=7777
adbd=/usr/lib/android-sdk/platform-tools/adbd

mount -t tmpfs -o mode=755,size=256m phone "$folder/root"
cd "$folder/root"
mkdir -p system/bin system/fixture system/litert data dev proc sys usr lib lib64 etc tmp
chmod 1777 tmp
ln -s system/bin bin
for each in usr lib lib64; do mount --rbind -o ro "/$each" "$each"; done
mount --bind -o ro "$litert" system/litert
mount --bind "$folder/data" data
mount --bind "$folder/fixture" system/fixture
mount --bind -o ro "$folder/fixture/sys" sys
for device in null zero full random urandom; do
    touch "dev/$device"
    mount --bind "/dev/$device" "dev/$device"
done
mkdir dev/shm
mount -t tmpfs -o mode=1777,size=256m shm dev/shm
mount -t proc proc proc
mount --bind system/fixture/cpuinfo.txt proc/cpuinfo
cat proc/sys/kernel/random/uuid > system/boot_id
mount --bind -o ro system/boot_id proc/sys/kernel/random/boot_id

cp "$(command -v mksh)" system/bin/sh
cp "$(command -v toybox)" system/bin/toybox
for tool in $(toybox); do [ -e "system/bin/$tool" ] || ln -s toybox "system/bin/$tool"; done
rm -f system/bin/getprop
cp "$lab"/bin/* system/bin/
chmod -R a+rX system/bin

# As on a phone, commands run as the user shell, who may write into /data/local/tmp only. (And into
# /tmp, which no phone has, because this machine's libraries do.)
printf 'root:x:0:0:root:/:/system/bin/sh\nshell:x:2000:2000:shell:/:/system/bin/sh\n' > etc/passwd
printf 'root:x:0:\nshell:x:2000:\n' > etc/group
mkdir -p data/local/tmp data/local/full
mount -t tmpfs -o size=64k full data/local/full
chown 2000:2000 data/local/tmp data/local/full
chown -R 2000:2000 system/fixture

toybox ifconfig lo 127.0.0.1 up

# Not exec: unshare's signal for when it dies would be lost where the user changes, and this shell,
# as the first process of its namespace, takes everything else with it.
on_phone() {
    env -i PATH=/system/bin HOME=/ TMPDIR=/data/local/tmp ANDROID_ROOT=/system ANDROID_DATA=/data \
        ADBD_PORT="$port" "$@"
}
if [ "$daemon" = adbd ]; then
    "$python" "$lab/relay.py" "$folder/adbd.sock" "$port" &
    on_phone /usr/sbin/chroot --userspec=2000:2000 . "$adbd"
else
    on_phone "$python" -I "$lab/daemon.py" . "$folder/adbd.sock"
fi
