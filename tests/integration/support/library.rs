//! A provider for a library kept in memory, or in a folder so that several processes share it: the example of how a
//! resource is written.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use terraform_provider_mesh::diag::{Diagnostic, Diagnostics};
use terraform_provider_mesh::engine::{
    Change, Configure, Ctx, Failed, Found, FoundObject, Import, Listable, Plan, Provider, Query, Registry, Resource,
};
use terraform_provider_mesh::model;
use terraform_provider_mesh::schema::{Model, Schema};
use terraform_provider_mesh::value::{Map, Path, Value, json};

use super::specimen::{Pass, Peek, Specimen, Twice};

/// The client: whatever the library keeps, by key.
#[derive(Clone, Default)]
pub struct Library(Arc<Store>);

#[derive(Default)]
struct Store {
    folder: Option<PathBuf>,
    memory: Mutex<BTreeMap<String, String>>,
}

impl Library {
    pub fn put<M: Model>(&self, key: &str, model: &M) {
        let text = json::encode(&model.encode(), &Schema::of::<M>(0).ty()).expect("only settled models are kept");
        match &self.0.folder {
            Some(folder) => std::fs::write(folder.join(format!("{key}.json")), text).expect("the folder is writable"),
            None => drop(self.memory().insert(key.to_owned(), text)),
        }
    }

    pub fn get<M: Model>(&self, key: &str) -> Option<M> {
        let text = match &self.0.folder {
            Some(folder) => std::fs::read_to_string(folder.join(format!("{key}.json"))).ok()?,
            None => self.memory().get(key)?.clone(),
        };
        let kept = json::decode_state(text.as_bytes(), &Schema::of::<M>(0).ty()).expect("written by us");
        Some(M::decode(&kept).expect("written by us"))
    }

    pub fn remove(&self, key: &str) {
        match &self.0.folder {
            Some(folder) => drop(std::fs::remove_file(folder.join(format!("{key}.json")))),
            None => drop(self.memory().remove(key)),
        }
    }

    fn keys(&self) -> Vec<String> {
        self.memory().keys().cloned().collect()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.0.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

model! {
    /// Configuration of the library.
    pub struct LibraryConfig {
        /// Folder to keep everything in; in memory if not set.
        #[attr(optional, validate(non_empty()))]
        pub folder: Value<String>,
    }
}

/// The provider; holds the library it configures when there is no folder, so that a test can look into it.
#[derive(Default)]
pub struct LibraryProvider(pub Library);

pub fn registry() -> Registry<Library> {
    Registry::new().resource(Shelf).listable(Shelf).resource(Specimen).data_source(Peek).ephemeral(Pass).function(Twice)
}

impl Provider for LibraryProvider {
    type Config = LibraryConfig;
    type Client = Library;

    const NAME: &'static str = "library";

    async fn configure(&self, configure: Configure<LibraryConfig>) -> Result<Library, Diagnostics> {
        Ok(match configure.config.folder.into_option() {
            Some(folder) => Library(Arc::new(Store { folder: Some(folder.into()), memory: Mutex::default() })),
            None => self.0.clone(),
        })
    }
}

model! {
    /// A shelf and the books on it.
    pub struct ShelfModel {
        /// Room that the shelf stands in.
        #[attr(required, replace, validate(dns_label()))]
        pub room: Value<String>,
        /// Number of boards.
        #[attr(default(5), validate(between(1, 20)))]
        pub boards: Value<i64>,
        /// Books by title.
        #[attr(optional)]
        pub books: Value<Map<Book>>,
        /// Where to find the shelf: `shelf-ROOM`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// How many books stand on the shelf.
        #[attr(computed)]
        pub total: Value<i64>,
    }
}

model! {
    /// A book.
    pub struct Book {
        /// Who wrote it.
        #[attr(required)]
        pub author: Value<String>,
    }
}

model! {
    /// Identity of a shelf.
    pub struct ShelfIdentity {
        /// Room that the shelf stands in.
        #[attr(required)]
        pub room: Value<String>,
    }
}

pub struct Shelf;

impl Resource for Shelf {
    type Client = Library;
    type Model = ShelfModel;
    type Identity = ShelfIdentity;
    type Private = ();

    const NAME: &'static str = "shelf";

    fn validate(&self, config: &ShelfModel, diagnostics: &mut Diagnostics) {
        for (title, book) in config.books.entries() {
            if book.author.as_deref() == Some(title) {
                let path = Path::root("books").key(title).attr("author");
                diagnostics.error_at(path, "Unlikely author", "No book has written itself.");
            }
        }
    }

    async fn plan(&self, _: &mut Ctx<Library>, plan: &mut Plan<'_, ShelfModel>) -> Result<(), Diagnostics> {
        // The number is known as soon as the books are.
        if !plan.planned.books.is_unknown() {
            plan.planned.total = Value::Known(plan.planned.books.keys().count() as i64);
        }
        Ok(())
    }

    async fn apply(&self, cx: &mut Ctx<Library>, change: Change<ShelfModel>) -> Result<ShelfModel, Failed<ShelfModel>> {
        let mut state = change.planned;
        state.id.fill(|| format!("shelf-{}", change.config.room.text()));
        state.total = Value::Known(state.books.keys().count() as i64);
        cx.client()?.put(state.id.text(), &state);
        Ok(state)
    }

    async fn read(&self, cx: &mut Ctx<Library>, state: ShelfModel) -> Result<Option<ShelfModel>, Diagnostics> {
        Ok(cx.client()?.get(state.id.text()))
    }

    async fn delete(&self, cx: &mut Ctx<Library>, state: ShelfModel) -> Result<(), Failed<ShelfModel>> {
        cx.client()?.remove(state.id.text());
        Ok(())
    }

    async fn import(&self, _: &mut Ctx<Library>, from: Import<ShelfIdentity>) -> Result<ShelfModel, Diagnostics> {
        let id = match from {
            Import::Id(id) => id,
            Import::Identity(identity) => format!("shelf-{}", identity.room.text()),
        };
        match id.strip_prefix("shelf-") {
            Some("dark") => Err(Diagnostic::error("Too dark to look").detail("Bring a lamp.").into()),
            Some(room) => Ok(ShelfModel { room: room.into(), id: Value::Known(id.clone()), ..ShelfModel::default() }),
            None => Err(Diagnostic::error("Malformed id").detail("Expected shelf-ROOM.").into()),
        }
    }

    fn identity(&self, model: &ShelfModel) -> ShelfIdentity {
        ShelfIdentity { room: model.room.clone() }
    }
}

model! {
    /// Which shelves to list.
    pub struct ShelfQuery {
        /// Only shelves with at least so many books.
        #[attr(optional)]
        pub at_least: Value<i64>,
    }
}

impl Listable for Shelf {
    type Query = ShelfQuery;

    async fn list(
        &self,
        cx: &mut Ctx<Library>,
        query: Query<ShelfQuery>,
        found: &mut Found<Self>,
    ) -> Result<(), Diagnostics> {
        let library = cx.client()?.clone();
        for key in library.keys().iter().filter(|key| key.starts_with("shelf-")) {
            let Some(shelf) = library.get::<ShelfModel>(key) else { continue };
            if shelf.total.get() < query.config.at_least.get() {
                continue;
            }
            let identity = self.identity(&shelf);
            let object = FoundObject { name: key.clone(), identity, warnings: Diagnostics::new() };
            if !found.push(object).await {
                break;
            }
        }
        Ok(())
    }
}
