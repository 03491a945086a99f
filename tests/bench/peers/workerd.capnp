using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [ (name = "main", worker = .hello) ],
  # The address is given on the command line: --socket-addr http=127.0.0.1:PORT
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "main") ],
);

const hello :Workerd.Worker = (
  modules = [
    (name = "worker.js", esModule = embed "worker.js"),
    (name = "hello", commonJsModule = embed "hello.js"),
  ],
  compatibilityDate = "2026-11-01",
);
