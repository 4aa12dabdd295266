#!/bin/busybox sh
# The first process of the tiny guest. What it says on the console is described in guest.py.
/bin/busybox --install -s /bin
export PATH=/bin:/sbin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /run/nic /run/cpu /var/run /tmp
mount -t devpts devpts /dev/pts
while read -r module; do insmod "/lib/modules/$module" 2>/dev/null; done </lib/modules/load-order

console=/dev/console
host=$(sed -n 's/.*kp\.host=\([^ ]*\).*/\1/p' /proc/cmdline)
hostname "${host:-tiny}"
ip link set lo up
echo online >/sys/devices/system/memory/auto_online_blocks 2>/dev/null
dmesg -n 1 # kernel messages would tear our lines apart

say() { printf '\r\n%s\r\n' "$*" >$console; }

# The power button, and only that, means power off; there is no acpid here.
for name in /sys/class/input/event*/device/name; do
  [ "$(cat "$name" 2>/dev/null)" = "Power Button" ] || continue
  event=${name#/sys/class/input/}
  (head -c 24 "/dev/input/${event%%/*}" >/dev/null && { say KP-POWEROFF; sync; poweroff -f; }) &
done

# Bring up every interface once, hot-plugged ones included; the index tells a new one from one
# that had the same name. udhcpc stays and renews.
interfaces() {
  for path in /sys/class/net/*; do
    name=${path##*/}
    [ "$name" = lo ] && continue
    index=$(cat "$path/ifindex" 2>/dev/null) || continue
    [ -e "/run/nic/$index" ] && continue
    : >"/run/nic/$index"
    ip link set "$name" up
    udhcpc -i "$name" -s /lib/dhcp -b -t 20 -T 1 -A 5 -S -F "$(hostname)" \
      -p "/run/nic/$index" >/dev/null 2>&1 &
  done
  for pid_file in /run/nic/*; do
    [ -s "$pid_file" ] || continue
    grep -qx "${pid_file##*/}" /sys/class/net/*/ifindex 2>/dev/null && continue
    kill "$(cat "$pid_file")" 2>/dev/null
    rm -f "$pid_file"
  done
}

# Online a plugged CPU once only: doing it again would undo an unplug that the host asked for.
processors() {
  for switch in /sys/devices/system/cpu/cpu[0-9]*/online; do
    [ -e "$switch" ] || continue
    cpu=${switch%/online}
    cpu=/run/cpu/${cpu##*/}
    [ -e "$cpu" ] && continue
    : >"$cpu"
    [ "$(cat "$switch")" = 0 ] && echo 1 >"$switch"
  done 2>/dev/null
  for cpu in /run/cpu/*; do
    [ -e "$cpu" ] && [ ! -e "/sys/devices/system/cpu/${cpu##*/}" ] && rm -f "$cpu"
  done
}

# The agent's channel may be plugged later; there is no udev to name the port.
agent() {
  for port in /sys/class/virtio-ports/*; do
    [ "$(cat "$port/name" 2>/dev/null)" = org.qemu.guest_agent.0 ] || continue
    pidof qemu-ga >/dev/null || qemu-ga -d -m virtio-serial -p "/dev/${port##*/}" >/dev/null 2>&1
  done
}

list_disks() {
  for path in /sys/block/vd* /sys/block/sd* /sys/block/sr*; do
    [ -e "$path/size" ] && printf '%s:%s,' "${path##*/}" "$(($(cat "$path/size") * 512))"
  done
}

list_interfaces() {
  for path in /sys/class/net/*; do
    name=${path##*/}
    [ "$name" = lo ] && continue
    mac=$(cat "$path/address" 2>/dev/null) || continue
    address=$(ip -4 -o addr show dev "$name" 2>/dev/null | awk '{print $4; exit}')
    printf '%s@%s,' "$mac" "${address:--}"
  done
}

state() {
  cpus=$(grep -c ^processor /proc/cpuinfo)
  memory=$(($(awk '/MemTotal/{print $2}' /proc/meminfo) / 1024))
  disks=$(list_disks)
  nics=$(list_interfaces)
  echo "cpus=$cpus memtotal=$memory disks=${disks:--} nics=${nics:--}" | sed 's/, / /; s/,$//'
}

# Ready means: booted, and every interface has its lease, or has had ten seconds to get one.
tries=0
interfaces
while [ $tries -lt 50 ]; do
  case "$(list_interfaces)" in *@-,*) usleep 200000 ;; *) break ;; esac
  tries=$((tries + 1))
done
processors
agent
httpd -p 80 -h /www
address=$(list_interfaces | sed 's/^[^@]*@//; s/,.*//')
possible=$(sed 's/.*-//' /sys/devices/system/cpu/possible)
say "KP-READY t=$(cut -d' ' -f1 /proc/uptime) ip=${address:--} host=$(hostname)" \
  "maxcpus=$((possible + 1))"

(
  while :; do
    interfaces
    processors
    agent
    now=$(state)
    [ "$now" != "$before" ] && say "KP-STATE $now"
    before=$now
    usleep 500000
  done
) &

# A shell on the console, for people and for tests that type.
while :; do setsid cttyhack sh </dev/console >/dev/console 2>&1; sleep 1; done
