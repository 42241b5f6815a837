//! nginx and curl: a PUT over WebDAV, and a GET with sendfile.

use std::process::Command;

use super::{Direction, Server, Tool, at};
use crate::scene::Scene;

const PORT: u16 = 8080;

/// The usual settings for large files.
pub struct Http;

impl Tool for Http {
    fn name(&self) -> String {
        "nginx + curl".to_owned()
    }

    fn programs(&self) -> &'static [&'static str] {
        &["nginx", "curl"]
    }

    fn serve(&self, _: Direction, scene: &Scene) -> Server {
        let (export, home) = (scene.export.display(), scene.directory.join("nginx"));
        std::fs::create_dir_all(&home).expect("cannot make a directory");
        let (home, address) = (home.display(), at(PORT));
        let settings = format!(
            "user root; worker_processes auto; pid {home}/pid; error_log stderr;\n\
             events {{ worker_connections 64; }}\n\
             http {{\n\
               access_log off; sendfile on; tcp_nopush on; client_max_body_size 0;\n\
               client_body_buffer_size 1m; client_body_temp_path {export}/temporary;\n\
               proxy_temp_path {home}/p; fastcgi_temp_path {home}/f; uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n\
               server {{ listen {address}; root {export}; dav_methods PUT; }}\n\
             }}\n"
        );
        let path = scene.directory.join("nginx.conf");
        std::fs::write(&path, settings).expect("cannot write the settings of nginx");
        let mut command = scene.server("nginx");
        command.arg("-c").arg(path).args(["-g", "daemon off;"]);
        Server::start(&mut command, PORT, scene)
    }

    fn client(&self, direction: Direction, scene: &Scene) -> Command {
        let mut command = scene.client("curl");
        command.args(["--silent", "--show-error", "--fail"]);
        let url = |name: &str| format!("http://{}/{name}", at(PORT));
        match direction {
            Direction::Put => command
                .arg("--upload-file")
                .arg(&scene.source)
                .arg(url("put")),
            Direction::Get => command.arg("--output").arg(&scene.got).arg(url("get")),
        };
        command
    }
}
