"""What happens to the database, as shell text that the drill runs as its trigger."""

from dataclasses import dataclass


@dataclass
class Scenario:
    """One event. `script(lab)` gives shell text; `limit` is how long the drill waits, in seconds."""

    name: str
    title: str
    script: object
    limit: int = 60
    has_failover: bool = True
    # The drill goes on for this long after the new primary is there: an old one comes back in it.
    settle: int = 6


def words(pids):
    return " ".join(map(str, pids))


def whole_node(lab, name):
    """Shell text for the pids of a member at that moment: sessions that began since are among them."""
    postmaster, patroni = lab.postgres_pids(name)[0], lab.patroni[name].pid
    return f"$(echo {postmaster} {patroni} $(pgrep -P {postmaster}) $(pgrep -P {patroni}))"


def switchover(lab):
    leader = lab.leader()
    other = next(name for name in lab.sql if name != leader)
    body = f'{{"leader":"{leader}","candidate":"{other}"}}'
    return f"curl -sS -XPOST -d '{body}' http://127.0.0.1:{lab.rest[leader]}/switchover"


def kill_postmaster(lab):
    return f"kill -9 {lab.postgres_pids(lab.leader())[0]}"


def kill_node(lab):
    return f"kill -9 {whole_node(lab, lab.leader())}"


def freeze_node(lab):
    """Frozen past its ttl, and thawed 3 s after another one leads."""
    leader = lab.leader()
    pids = whole_node(lab, leader)
    asked = next(port for name, port in lab.rest.items() if name != leader)
    return f"""pids={pids}
kill -STOP $pids
for i in $(seq 400); do
  curl -s -m 1 http://127.0.0.1:{asked}/cluster | tr '}}' '\\n' | grep '"leader"' | grep -v '"{leader}"' | grep -q '"running"' && break
  sleep 0.1
done
sleep 3
kill -CONT $pids"""


def kill_patroni(lab):
    leader = lab.leader()
    postgres = set(lab.postgres_pids(leader))
    return f"kill -9 {words(pid for pid in lab.node_pids(leader) if pid not in postgres)}"


def freeze_patroni(lab):
    """Less than its ttl: nothing fails over."""
    pid = lab.patroni[lab.leader()].pid
    return f"kill -STOP {pid}; sleep 2; kill -CONT {pid}"


def redis_failover(lab):
    return f"redis-cli -p {lab.port['s2']} sentinel failover lab"


def redis_kill(lab):
    return f"kill -9 {lab.process[lab.leader()].pid}"


def redis_wait(lab, leader):
    return f"""for i in $(seq 400); do
  redis-cli -p {lab.port['s1']} sentinel get-master-addr-by-name lab | tail -1 | grep -qv {lab.port[leader]} && break
  sleep 0.05
done"""


def redis_returns(lab):
    """Killed, and started again as a primary 1 s after another one leads."""
    leader = lab.leader()
    port = lab.port[leader]
    return f"""kill -9 {lab.process[leader].pid}
{redis_wait(lab, leader)}
sleep 1
redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --dir {lab.folder} \
  --daemonize yes --pidfile {lab.folder}/returned.pid >/dev/null"""


def redis_thaws(lab):
    leader = lab.leader()
    pid = lab.process[leader].pid
    return f"kill -STOP {pid}\n{redis_wait(lab, leader)}\nsleep 3\nkill -CONT {pid}"


def redis_pause(lab):
    pid = lab.process[lab.leader()].pid
    return f"kill -STOP {pid}; sleep 0.7; kill -CONT {pid}"


POSTGRES = (
    Scenario("switchover", "planned switchover", switchover),
    Scenario("pg-kill", "postmaster killed, restarted in place", kill_postmaster),
    Scenario("node-kill", "node killed", kill_node),
    Scenario("node-freeze", "node frozen, thawed 3 s after the new primary", freeze_node, limit=90, settle=10),
    Scenario("patroni-kill", "Patroni killed, Postgres healthy", kill_patroni),
    Scenario("patroni-freeze", "Patroni frozen 2 s, no failover", freeze_patroni, limit=12, has_failover=False),
)
REDIS = (
    Scenario("planned", "planned `SENTINEL FAILOVER`", redis_failover, settle=14),
    Scenario("kill", "primary killed", redis_kill),
    Scenario("returns", "primary killed, comes back as primary", redis_returns, settle=14),
    Scenario("thaws", "primary frozen, thawed 3 s after the new one", redis_thaws, settle=16),
    Scenario("pause", "primary frozen 0.7 s, no failover", redis_pause, limit=8, has_failover=False),
)
