// A GraphQL API whose pages are those of Relay's reference implementation: node … ROWS.json PORT
const http = require("http");
const { createHandler } = require("graphql-http/lib/use/http");
const { GraphQLFloat, GraphQLInt, GraphQLObjectType, GraphQLSchema, GraphQLString } = require("graphql");
const { connectionArgs, connectionDefinitions, connectionFromArray } = require("graphql-relay");

const rows = JSON.parse(require("fs").readFileSync(process.argv[2]));

const unit = new GraphQLObjectType({
  name: "Unit",
  fields: {
    number: { type: GraphQLInt, resolve: (row) => row.id },
    name: { type: GraphQLString },
    size: { type: GraphQLInt },
    changed: { type: GraphQLFloat },
  },
});
const { connectionType } = connectionDefinitions({
  nodeType: unit,
  connectionFields: { totalCount: { type: GraphQLInt } },
});
const query = new GraphQLObjectType({
  name: "Query",
  fields: {
    units: {
      type: connectionType,
      args: { ...connectionArgs, since: { type: GraphQLFloat }, until: { type: GraphQLFloat } },
      resolve: (_, { since = -Infinity, until = Infinity, ...args }) => {
        const found = rows.filter((row) => since <= row.changed && row.changed < until);
        return { ...connectionFromArray(found, args), totalCount: found.length };
      },
    },
  },
});

http.createServer(createHandler({ schema: new GraphQLSchema({ query }) }))
  .listen(Number(process.argv[3]), "127.0.0.1");
