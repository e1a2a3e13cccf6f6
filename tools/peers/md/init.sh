#!/bin/bash
# Init of the guest that run.py boots: mounts, loads modules, runs the script, powers off. The root is the host's, read-only.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/run LANG=C
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mount -t tmpfs run /run
mkdir -p /dev/shm /run/mdadm /run/work /run/modules
mount -t hostfs -o "$WORK" none /run/work
mount -t hostfs -o "$MODULE_DIRECTORY" none /run/modules

# Loads a module after those that modules.dep names for it, the last one first.
load() {
    local line file names=()
    line=$(grep "/$1\.ko:" /run/modules/modules.dep) || { echo "init: no module $1"; return; }
    for file in ${line#*:}; do names=("$file" "${names[@]}"); done
    for file in "${names[@]}" "${line%%:*}"; do
        local name=${file##*/}
        name=${name%.ko}
        [ -d "/sys/module/${name//-/_}" ] || busybox insmod "/run/modules/$file"
    done
}

[ -n "$ADDRESS" ] && ip link set lo up && ip addr add "$ADDRESS" dev eth0 && ip link set eth0 up
cd /run/work || busybox poweroff -f
{
    for module in ${MODULES//,/ }; do load "$module"; done
    if [ -e /proc/sys/dev/raid/speed_limit_max ]; then
        echo 10000000 >/proc/sys/dev/raid/speed_limit_max
        echo 1000000 >/proc/sys/dev/raid/speed_limit_min
    fi
    (. ./.script)
} >.out 2>&1
echo $? >.status
sync
mount -o remount,ro /run/work 2>/dev/null
busybox poweroff -f
