//! Variables and directories that other tools share with barge: where they keep credentials,
//! certificates and settings of registries.

use std::path::{Path, PathBuf};

use crate::endpoint::registry::RegistriesConf;
use crate::endpoint::registry::credentials::AuthFile;

/// What this process was started with, besides barge's own options.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    pub registry_auth_file: Option<PathBuf>,
    /// `CONTAINERS_REGISTRIES_CONF`.
    pub registries_conf: Option<PathBuf>,
    pub docker_config: Option<PathBuf>,
    /// `XDG_RUNTIME_DIR`, else what podman takes for it.
    pub runtime: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`.
    pub config: Option<PathBuf>,
    /// `XDG_STATE_HOME`.
    pub state: Option<PathBuf>,
    pub home: Option<PathBuf>,
}

impl Environment {
    /// What this process was started with.
    #[must_use]
    pub fn read() -> Self {
        let path = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Self {
            registry_auth_file: path("REGISTRY_AUTH_FILE"),
            registries_conf: path("CONTAINERS_REGISTRIES_CONF"),
            docker_config: path("DOCKER_CONFIG"),
            runtime: path("XDG_RUNTIME_DIR")
                .map(|path| path.join("containers"))
                .or_else(run_containers),
            config: path("XDG_CONFIG_HOME"),
            state: path("XDG_STATE_HOME"),
            home: std::env::home_dir(),
        }
    }

    /// The files that are looked through for credentials, the first one first.
    pub(super) fn auth_files(&self, named: Option<PathBuf>) -> Vec<AuthFile> {
        if let Some(path) = named.or_else(|| self.registry_auth_file.clone()) {
            return vec![AuthFile { path, named: true }];
        }
        let docker = self.docker_config.clone();
        let docker = docker.or_else(|| self.in_home(".docker"));
        let containers = self.containers().into_iter();
        let files = containers
            .map(|directory| directory.join("auth.json"))
            .chain(docker.map(|directory| directory.join("config.json")));
        files.map(|path| AuthFile { path, named: false }).collect()
    }

    /// The file that a login goes to: the one that podman and skopeo write.
    pub(super) fn login_file(&self, named: Option<PathBuf>) -> Option<PathBuf> {
        let default = || {
            let directories = self.containers();
            // Without a session there may be no runtime directory, nor the right to make one.
            let usable = directories.iter().find(|directory| can_hold(directory));
            usable
                .or(directories.first())
                .map(|directory| directory.join("auth.json"))
        };
        named
            .or_else(|| self.registry_auth_file.clone())
            .or_else(default)
    }

    /// Directories with a directory of certificates for each host (containers-certs.d(5)).
    pub(super) fn certs_d(&self) -> Vec<PathBuf> {
        let system = ["/etc/containers/certs.d", "/etc/docker/certs.d"].map(PathBuf::from);
        let own = self
            .configs()
            .into_iter()
            .map(|directory| directory.join("certs.d"));
        own.chain(system).collect()
    }

    /// Where registries are configured (registries.conf(5)).
    pub(super) fn registries(&self) -> RegistriesConf {
        let system = Path::new("/etc/containers");
        let own = self.configs();
        RegistriesConf {
            named: self.registries_conf.clone(),
            files: own
                .iter()
                .map(PathBuf::as_path)
                .chain([system])
                .map(|directory| directory.join("registries.conf"))
                .collect(),
            drop_ins: [system]
                .into_iter()
                .chain(own.iter().rev().map(PathBuf::as_path))
                .map(|directory| directory.join("registries.conf.d"))
                .collect(),
        }
    }

    /// The `containers` directories that hold credentials.
    fn containers(&self) -> Vec<PathBuf> {
        let mut directories = self.configs();
        if let Some(runtime) = &self.runtime {
            directories.retain(|directory| directory != runtime);
            directories.insert(0, runtime.clone());
        }
        directories
    }

    /// The user's own `containers` directories.
    fn configs(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = self.config.clone().into_iter().collect();
        // Some tools look here whatever the variable says.
        directories.extend(self.in_home(".config"));
        directories.dedup();
        directories
            .iter()
            .map(|directory| directory.join("containers"))
            .collect()
    }

    fn in_home(&self, name: &str) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(name))
    }
}

/// Whether `directory`, or the nearest one above it that is there, belongs to somebody who may write.
fn can_hold(directory: &Path) -> bool {
    let there = directory.ancestors().find(|above| above.exists());
    there.is_some_and(|above| tempfile::tempfile_in(above).is_ok())
}

/// `/run/containers/UID`, which podman takes where `XDG_RUNTIME_DIR` is not set.
#[cfg(target_os = "linux")]
fn run_containers() -> Option<PathBuf> {
    use std::os::unix::fs::MetadataExt as _;
    let process = std::fs::metadata("/proc/self").ok()?;
    Some(Path::new("/run/containers").join(process.uid().to_string()))
}

#[cfg(not(target_os = "linux"))]
fn run_containers() -> Option<PathBuf> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        Environment {
            runtime: Some("/r/containers".into()),
            config: Some("/c".into()),
            home: Some("/h".into()),
            ..Environment::default()
        }
    }

    fn texts(paths: impl IntoIterator<Item = PathBuf>) -> Vec<String> {
        let texts = paths.into_iter().map(|path| path.display().to_string());
        texts.collect()
    }

    #[test]
    fn credentials_are_looked_for_in_the_order_of_containers_auth_json() {
        let files = |environment: &Environment, named: Option<&str>| {
            let files = environment.auth_files(named.map(PathBuf::from));
            texts(files.into_iter().map(|file| file.path))
        };
        let mut environment = environment();
        let containers = [
            "/r/containers/auth.json",
            "/c/containers/auth.json",
            "/h/.config/containers/auth.json",
        ];
        assert_eq!(files(&environment, None)[..3], containers);
        assert_eq!(files(&environment, None)[3..], ["/h/.docker/config.json"]);
        environment.docker_config = Some("/d".into());
        assert_eq!(files(&environment, None)[3..], ["/d/config.json"]);
        environment.registry_auth_file = Some("/v".into());
        assert_eq!(files(&environment, None), ["/v"]);
        assert_eq!(files(&environment, Some("/f")), ["/f"]);
    }

    #[test]
    fn the_users_directories_come_before_the_systems() {
        assert_eq!(
            texts(environment().certs_d()),
            [
                "/c/containers/certs.d",
                "/h/.config/containers/certs.d",
                "/etc/containers/certs.d",
                "/etc/docker/certs.d",
            ]
        );
        let registries = environment().registries();
        assert_eq!(
            texts(registries.files)[1..],
            [
                "/h/.config/containers/registries.conf",
                "/etc/containers/registries.conf"
            ]
        );
        assert_eq!(
            texts(registries.drop_ins),
            [
                "/etc/containers/registries.conf.d",
                "/h/.config/containers/registries.conf.d",
                "/c/containers/registries.conf.d",
            ]
        );
    }
}
