"""The proxies side by side, and the origin behind them. All do the same work:

one thread, keep-alive to clients and origins, round robin over three origins, X-Forwarded-For,
-Proto and -Host and a request id added, no access log, no checks.
"""

import os
import re
import subprocess
from pathlib import Path

# Idle connections kept to the origins: above the 512 clients of the largest row.
IDLE_UPSTREAM = 640
# Clients at once: above the idle row; haproxy asks for 2.5 descriptors each, and 20,000 is a common
# hard limit.
CLIENTS_MAX = 7900
BODIES = {"/128": 128, "/64k": 64 * 1024, "/1m": 1024 * 1024}
HEADERS_PATH = "/headers"


def nginx_head(folder):
    user = "user root;" if os.geteuid() == 0 else ""
    return f"""
daemon off; {user} pid {folder}/nginx.pid; error_log stderr crit;
worker_processes 1; worker_rlimit_nofile {2 * CLIENTS_MAX + 1000};
events {{ worker_connections {2 * CLIENTS_MAX + 500}; }}
"""


def nginx_http_head(folder):
    """Paths Debian's build would look for under /var otherwise, and no limit on reuse."""
    temporary = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
{temporary}
access_log off; sendfile on; tcp_nodelay on; tcp_nopush on;
keepalive_timeout 600s; keepalive_requests 1000000000;
"""


class Origin:
    """nginx on three ports: three small bodies' worth of work for the proxies to share."""

    def __init__(self, folder, ports):
        self.folder, self.ports = Path(folder), ports

    def command(self):
        self.folder.mkdir()
        for path, size in BODIES.items():
            (self.folder / path[1:]).write_bytes(body(path, size))
        listen = "\n".join(f"listen 127.0.0.1:{port} backlog=4096;" for port in self.ports)
        config = self.folder / "nginx.conf"
        config.write_text(f"""{nginx_head(self.folder)}
http {{ {nginx_http_head(self.folder)}
  server {{
    {listen}
    location = /128 {{ default_type application/octet-stream; return 200 "{body("/128", 128).decode()}"; }}
    location = {HEADERS_PATH} {{
      return 200 "$http_x_forwarded_for|$http_x_forwarded_proto|$http_x_forwarded_host|$http_x_request_id";
    }}
    location / {{ root {self.folder}; open_file_cache max=16; open_file_cache_valid 600s; }}
  }}
}}
""")
        return ["nginx", "-p", self.folder, "-c", config]


def body(path, size):
    """The same bytes every time, and no two places alike enough to hide a shift."""
    text = "".join(f"{path}{number};" for number in range(size // 4))
    return text.encode()[:size]


def make_certificate(folder):
    """One for all of them: ECDSA P-256, chain and key, and both in one file as haproxy wants it."""
    cert, key = folder / "tls.crt", folder / "tls.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                    "-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                    "-keyout", key, "-out", cert], check=True, stderr=subprocess.DEVNULL)
    (folder / "tls.pem").write_text(cert.read_text() + key.read_text())


# What every proxy agrees on: the same cipher, or the cost of SHA-384 in handshakes would be compared.
CIPHER = "TLS_AES_128_GCM_SHA256"


class Proxy:
    """One proxy with its ports: `http`, `https`, `ping`, `bulk`, and those of the databases."""

    name = ""
    ports = ("http", "https", "ping", "bulk", "postgres", "redis")

    def __init__(self, folder, free_port, origins, echo, bulk, databases):
        self.folder = Path(folder)
        self.origins, self.echo, self.bulk_origin = origins, echo, bulk
        self.databases = databases
        self.port = {name: free_port() for name in self.ports}

    def write(self, name, text):
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        path.write_text(text)
        return path


class Haproxy(Proxy):
    """Debian's haproxy as a careful administrator would set it up for this work."""

    name = "haproxy"
    ports = (*Proxy.ports, "bulk-splice")

    def command(self):
        servers = "\n".join(f"  server o{i} 127.0.0.1:{p}" for i, p in enumerate(self.origins))
        config = self.write("haproxy.cfg", f"""
global
  nbthread 1
  maxconn {CLIENTS_MAX}
  ssl-default-bind-ciphersuites {CIPHER}:TLS_AES_256_GCM_SHA384
defaults
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 600s
frontend http
  mode http
  bind 127.0.0.1:{self.port["http"]} backlog 4096
  bind 127.0.0.1:{self.port["https"]} backlog 4096 ssl crt {self.folder.parent}/tls.pem alpn h2,http/1.1
  option forwardfor
  http-request set-header X-Forwarded-Proto http unless {{ ssl_fc }}
  http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  unique-id-format %{{+X}}o%ci:%cp_%fi:%fp_%Ts_%rt:%pid
  unique-id-header X-Request-Id
  default_backend web
backend web
  mode http
  balance roundrobin
  http-reuse always
{servers}
listen ping
  mode tcp
  bind 127.0.0.1:{self.port["ping"]} backlog 4096
  server echo 127.0.0.1:{self.echo}
listen bulk
  mode tcp
  bind 127.0.0.1:{self.port["bulk"]} backlog 4096
  server bulk 127.0.0.1:{self.bulk_origin}
listen bulk-splice
  mode tcp
  bind 127.0.0.1:{self.port["bulk-splice"]} backlog 4096
  option splice-response
  server bulk 127.0.0.1:{self.bulk_origin}
listen postgres
  mode tcp
  bind 127.0.0.1:{self.port["postgres"]} backlog 4096
  server postgres 127.0.0.1:{self.databases.postgres}
listen redis
  mode tcp
  bind 127.0.0.1:{self.port["redis"]} backlog 4096
  server redis 127.0.0.1:{self.databases.redis}
""")
        return ["haproxy", "-db", "-q", "-f", config]

    def version(self):
        return said(["haproxy", "-v"], r"version (\S+)")


class Nginx(Proxy):
    """Debian's nginx with upstream keep-alive and buffers that hold a 64 KiB body."""

    name = "nginx"
    modules = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules")

    def command(self):
        found = [f"{m}/ngx_stream_module.so" for m in self.modules]
        stream = next((f"load_module {m};" for m in found if os.path.exists(m)), "")
        servers = "\n".join(f"server 127.0.0.1:{p};" for p in self.origins)
        config = self.write("nginx.conf", f"""{stream}{nginx_head(self.folder)}
http {{ {nginx_http_head(self.folder)}
  upstream web {{ {servers} keepalive {IDLE_UPSTREAM}; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{self.port["http"]} backlog=4096;
    listen 127.0.0.1:{self.port["https"]} ssl http2 backlog=4096;
    ssl_certificate {self.folder.parent}/tls.crt; ssl_certificate_key {self.folder.parent}/tls.key;
    ssl_protocols TLSv1.2 TLSv1.3; ssl_buffer_size 16k;
    ssl_conf_command Ciphersuites {CIPHER}:TLS_AES_256_GCM_SHA384; ssl_prefer_server_ciphers on;
    http2_max_concurrent_streams 128;
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Request-Id $request_id;
      proxy_buffer_size 16k; proxy_buffers 8 32k; proxy_busy_buffers_size 64k;
      proxy_max_temp_file_size 0;
    }}
  }}
}}
stream {{
  proxy_buffer_size 64k;
  server {{ listen 127.0.0.1:{self.port["ping"]} backlog=4096; proxy_pass 127.0.0.1:{self.echo}; }}
  server {{ listen 127.0.0.1:{self.port["bulk"]} backlog=4096; proxy_pass 127.0.0.1:{self.bulk_origin}; }}
  server {{ listen 127.0.0.1:{self.port["postgres"]} backlog=4096; proxy_pass 127.0.0.1:{self.databases.postgres}; }}
  server {{ listen 127.0.0.1:{self.port["redis"]} backlog=4096; proxy_pass 127.0.0.1:{self.databases.redis}; }}
}}
""")
        return ["nginx", "-p", self.folder, "-c", config]

    def version(self):
        return said(["nginx", "-v"], r"nginx/(\S+)")


class Fairlead(Proxy):
    """This repository's release build."""

    name = "fairlead"
    binary = ""

    def command(self):
        endpoints = ", ".join(f'{{ address = "127.0.0.1:{p}" }}' for p in self.origins)
        config = self.write("fairlead.toml", f"""
version = 1

[process]
worker_threads  = 1
max_connections = {CLIENTS_MAX}

[admin]
listen = "off"
socket = "{self.folder}/admin.sock"

[listeners.http]
bind              = ["127.0.0.1:{self.port["http"]}"]
kind              = "http"
upstream          = "web"
keepalive_timeout = "600s"

[listeners.https]
bind              = ["127.0.0.1:{self.port["https"]}"]
kind              = "http"
upstream          = "web"
keepalive_timeout = "600s"
tls               = {{ certificates = ["site"] }}

[certificates.site]
cert = "{self.folder.parent}/tls.crt"
key  = "{self.folder.parent}/tls.key"

[upstreams.web]
kind                 = "http"
balance              = "round_robin"
max_idle_connections = {IDLE_UPSTREAM}
endpoints            = [{endpoints}]

[listeners.ping]
bind     = ["127.0.0.1:{self.port["ping"]}"]
kind     = "tcp"
upstream = "echo"

[upstreams.echo]
kind      = "tcp"
balance   = "round_robin"
endpoints = [{{ address = "127.0.0.1:{self.echo}" }}]

[listeners.bulk]
bind     = ["127.0.0.1:{self.port["bulk"]}"]
kind     = "tcp"
upstream = "bulk"

[upstreams.bulk]
kind      = "tcp"
balance   = "round_robin"
endpoints = [{{ address = "127.0.0.1:{self.bulk_origin}" }}]

[listeners.postgres]
bind     = ["127.0.0.1:{self.port["postgres"]}"]
kind     = "postgres"
upstream = "postgres"
role     = "primary"

[upstreams.postgres]
kind      = "postgres"
endpoints = [{{ address = "127.0.0.1:{self.databases.postgres}" }}]
health    = {{ postgres = {{ user = "postgres", database = "postgres" }} }}

[listeners.redis]
bind     = ["127.0.0.1:{self.port["redis"]}"]
kind     = "redis"
upstream = "redis"
role     = "primary"

[upstreams.redis]
kind      = "redis"
endpoints = [{{ address = "127.0.0.1:{self.databases.redis}" }}]
health    = {{ redis = {{}} }}
""")
        return [self.binary, "run", "-c", config]

    def version(self):
        return said([self.binary, "version"], r"fairlead (\S+)")


def said(command, pattern):
    result = subprocess.run(command, capture_output=True, text=True)
    found = re.search(pattern, (result.stdout + result.stderr).splitlines()[0] if result.stdout + result.stderr else "")
    return found.group(1) if found else "unknown"


ALL = (Fairlead, Haproxy, Nginx)
