#!/bin/sh
# Exchanges and steps in 1 to 5 ranks against one rank's (step.c).
. "$(dirname "$0")/common.sh"
for n in 1 2 3 5 "3 -x MOECLIP_OVERLAP="; do
  ranks $n "$STEP" >out 2>&1 || fail "$n ranks: $(cat out)"
  [ "$(grep -c ' passed, 0 failed' out)" -eq ${n%% *} ] || fail "$n ranks: $(cat out)"
done
exit $failed
