"""What stands in front of the databases: haproxy as people set it up, three times, and fairlead."""

import machine

# name -> `server` options, `timeout check`. std is what Patroni's documentation shows (and the usual
# one-second check for Redis); fast and hot are what people arrive at who want less.
SETTINGS = {
    "std": {"postgres": "inter 3s fall 3 rise 2", "redis": "inter 1s fall 3 rise 2", "check": ""},
    "fast": {"postgres": "inter 500ms fall 2 rise 1", "redis": "inter 500ms fall 2 rise 1", "check": ""},
    "hot": {"postgres": "inter 100ms fall 1 rise 1", "redis": "inter 100ms fall 1 rise 1",
            "check": "timeout check 200ms"},
}
REDIS_CHECK = r"""option tcp-check
  tcp-check connect
  tcp-check send info\ replication\r\n
  tcp-check expect string role:master
"""
POSTGRES_CHECK = """option httpchk OPTIONS /primary
  http-check expect status 200
"""


class Haproxy:
    """One process, one `listen` section a setting."""

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        self.port = dict(zip(SETTINGS, machine.free_ports(len(SETTINGS))))

    def targets(self):
        return {f"haproxy {name}": port for name, port in self.port.items()}

    def command(self):
        sections = "\n".join(self.section(name, how) for name, how in SETTINGS.items())
        path = self.folder / "haproxy.cfg"
        path.write_text(f"""global
  maxconn 2000
defaults
  mode tcp
  retries 2
  timeout connect 4s
  timeout client 30m
  timeout server 30m
  timeout check 5s
{sections}
""")
        return ["haproxy", "-db", "-q", "-f", path]

    def section(self, name, how):
        kind, lab = self.lab.kind, self.lab
        check = POSTGRES_CHECK if kind == "postgres" else REDIS_CHECK
        places = lab.sql if kind == "postgres" else {n: p for n, p in lab.port.items() if n.startswith("r")}
        options = f"maxconn 200 check {how[kind]} on-marked-down shutdown-sessions"
        servers = "\n".join(
            f"  server {node} 127.0.0.1:{port} {options}"
            + (f" port {lab.rest[node]}" if kind == "postgres" else "")
            for node, port in places.items())
        return f"""listen {name}
  bind 127.0.0.1:{self.port[name]}
  {how["check"]}
  {check}{servers}
"""


class Fairlead:
    """This repository's release build, at its defaults."""

    binary = ""

    def __init__(self, lab, folder):
        self.lab, self.folder = lab, folder
        self.port, self.admin = machine.free_ports(2)

    def targets(self):
        return {"fairlead": self.port}

    def command(self):
        lab = self.lab
        if lab.kind == "postgres":
            members = ", ".join(f'"http://127.0.0.1:{port}"' for port in lab.rest.values())
            source = (f'source.patroni = {{ scope = "lab", members = [{members}], '
                      f'etcd = ["http://127.0.0.1:{lab.etcd_port}"] }}')
            health = 'health = { postgres = { user = "postgres", database = "postgres" } }'
        else:
            names = ", ".join(f'"127.0.0.1:{p}"' for n, p in lab.port.items() if n.startswith("s"))
            source = f'source.sentinel = {{ sentinels = [{names}], master = "lab" }}'
            health = "health = { redis = {} }"
        path = self.folder / "fairlead.toml"
        (self.folder / "state").mkdir(exist_ok=True)
        path.write_text(f"""version = 1
[process]
state_dir = "{self.folder}/state"
[admin]
listen = "127.0.0.1:{self.admin}"
socket = "{self.folder}/admin.sock"
[listeners.write]
bind     = ["127.0.0.1:{self.port}"]
kind     = "{lab.kind}"
upstream = "lab"
role     = "primary"
hold     = "60s"
[upstreams.lab]
kind = "{lab.kind}"
{source}
{health}
""")
        return [self.binary, "run", "-c", path]
