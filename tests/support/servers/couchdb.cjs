// CouchDB's API by PouchDB's server, in memory: node … PORT
const PouchDB = require("pouchdb-core")
  .plugin(require("pouchdb-adapter-memory"))
  .plugin(require("pouchdb-mapreduce"))
  .plugin(require("pouchdb-find"));
const server = require("express-pouchdb")(PouchDB, {
  mode: "minimumForPouchDB",
  overrideMode: { include: ["routes/find"] },
  inMemoryConfig: true,
});

require("express")().use("/", server).listen(Number(process.argv[2]), "127.0.0.1");
