//! An administrator with a browser that the relay knows, who must be able to log in during an attack.

use super::super::scene::Scene;
use crate::{ChildRelay, http_client};
use serde_json::json;

/// The account's name; attackers know it.
pub(super) const NAME: &str = "alice";
const PASSWORD: &str = "an owner's long password";

#[derive(Debug)]
pub(super) struct Owner {
    url: String,
    /// The cookies of the first login.
    cookies: String,
}

impl Owner {
    /// Creates the account and logs in for the first time.
    pub(super) async fn arrive(scene: &Scene, relay: &ChildRelay) -> Self {
        let input = format!("{PASSWORD}\n");
        let done = scene
            .setup
            .command(&scene.exe, &["user", "add", NAME, "--password-stdin"], &input)
            .await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let mut owner = Self {
            url: format!("{}/admin/api/login", relay.admin),
            cookies: String::new(),
        };
        let answer = owner.log_in().await;
        let set = answer.headers().get_all("set-cookie").iter();
        let cookies = set.filter_map(|cookie| cookie.to_str().ok()?.split(';').next());
        owner.cookies = cookies.collect::<Vec<_>>().join("; ");
        owner
    }

    /// Logs in again, over a new connection.
    pub(super) async fn log_in(&self) -> reqwest::Response {
        let login = json!({ "user": NAME, "password": PASSWORD });
        let request = http_client()
            .post(&self.url)
            .header("cookie", &self.cookies)
            .json(&login);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 204, "the owner's login");
        answer
    }
}
