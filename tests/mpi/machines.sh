#!/bin/sh
# Two machines: network namespaces with a name each, which share nothing but a cable (a pair of virtual devices), and speak over TCP.
. "$(dirname "$0")/common.sh"
[ "$(id -u)" -eq 0 ] && command -v ip >/dev/null || { echo "needs root and iproute2"; exit 77; }
A=moeclip-a-$$ B=moeclip-b-$$
ip netns add $A 2>/dev/null && ip netns add $B 2>/dev/null || {
  ip netns del $A 2>/dev/null
  echo "network namespaces are not allowed here"
  exit 77
}
trap 'ip netns del $A; ip netns del $B; rm -rf "$T"' EXIT
ip link add veth-a netns $A type veth peer name veth-b netns $B || { echo "virtual devices are not allowed here"; exit 77; }
for side in a:$A:1 b:$B:2; do
  device=veth-${side%%:*} rest=${side#*:}
  ip -n ${rest%%:*} address add 10.93.0.${side##*:}/24 dev $device && ip -n ${rest%%:*} link set $device up &&
    ip -n ${rest%%:*} link set lo up || { echo "virtual devices are not allowed here"; exit 77; }
done
prepare
# What mpirun calls in place of ssh: HOST COMMAND...
cat >agent.sh <<S
#!/bin/sh
host=\$1
shift
case \$host in
  10.93.0.1) exec ./inside.sh $A sh -c "\$*" ;;
  *) exec ./inside.sh $B sh -c "\$*" ;;
esac
S
# A machine of its own name too: Open MPI tells machines apart by it.
cat >inside.sh <<'S'
#!/bin/sh
name=$1
shift
exec ip netns exec $name unshare --uts sh -c 'hostname "$0"; exec "$@"' $name "$@"
S
chmod +x agent.sh inside.sh
machines() { # RANKS COMMAND...
  n=$1
  shift
  timeout 120 ./inside.sh $A mpirun --allow-run-as-root --host 10.93.0.1:2,10.93.0.2:2 --map-by node -n "$n" \
    --mca plm_rsh_agent "$T/agent.sh" --mca plm rsh --mca btl self,tcp --mca btl_tcp_if_include 10.93.0.0/24 \
    --mca oob_tcp_if_include 10.93.0.0/24 --mca pml ob1 --bind-to none -x OMP_WAIT_POLICY $pass "$@"
}
pass=
[ -z "$MOECLIP_SANITIZE" ] || pass="-x ASAN_OPTIONS"
how="learn $small --batch 7 --iterations 8 --selector-iterations 10 --quiet"
machines 4 "$STEP" >out 2>&1 || fail "step: $(cat out)"
[ "$(grep -c ' passed, 0 failed' out)" -eq 4 ] || fail "step: $(cat out)"
machines 4 "$M" $how --state two.safetensors pictures/colours >out 2>err || fail "learn: $(cat err)"
# The order of summing is that of the ranks, whatever lies between them: the same bits as on one machine.
ranks 4 "$M" $how --state one.safetensors pictures/colours >out 2>err || fail "learn on one machine: $(cat err)"
same one.safetensors two.safetensors
exit $failed
