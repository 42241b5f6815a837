//! nginx and curl: a PUT over WebDAV, and a GET with sendfile.

use super::{Copy, Direction, Service, Tool};
use crate::scene::{Far, GET, Near, PUT};
use crate::work::Work;

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

    fn works(&self) -> &'static [Work] {
        &[Work::Put, Work::Get, Work::ColdGet]
    }

    fn server(&self, far: &Far) -> Option<Service> {
        let (export, home) = (far.export.display(), far.home.join("nginx"));
        std::fs::create_dir_all(&home).expect("cannot make a directory");
        let (home, address) = (home.display(), far.at(PORT));
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
        let path = far.home.join("nginx.conf");
        std::fs::write(&path, settings).expect("cannot write the settings of nginx");
        let mut command = far.place.command("nginx");
        command.arg("-c").arg(path).args(["-g", "daemon off;"]);
        Some(Service::tcp(command, PORT))
    }

    fn copy(&self, direction: Direction, near: &Near) -> Option<Copy> {
        let mut command = near.command("curl");
        // -q comes first: no ~/.curlrc.
        command.args(["-q", "--noproxy", "*", "--silent", "--show-error", "--fail"]);
        let url = |name: &str| format!("http://{}/{name}", near.at(PORT));
        match direction {
            Direction::Put => command.arg("--upload-file").arg(&near.source).arg(url(PUT)),
            Direction::Get => command.arg("--output").arg(&near.got).arg(url(GET)),
        };
        Some(Copy::silent(command))
    }
}
