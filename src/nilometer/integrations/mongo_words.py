"""MongoDB's commands: the names that may become a dimension; every other is "OTHER"."""

from __future__ import annotations

from typing import Final

_NAMES: Final = """
abortTransaction aggregate authenticate buildInfo bulkWrite clearLog collMod collStats
commitTransaction compact connPoolStats connectionStatus convertToCapped count create
createIndexes createRole createSearchIndexes createUser currentOp dataSize dbHash dbStats
delete distinct drop dropAllUsersFromDatabase dropDatabase dropIndexes dropRole
dropSearchIndex dropUser endSessions explain filemd5 find findAndModify fsync fsyncUnlock
getCmdLineOpts getDefaultRWConcern getLastError getLog getMore getParameter getShardMap
grantRolesToUser hello hostInfo insert invalidateUserCache isMaster isdbgrid killAllSessions
killCursors killOp killSessions listCollections listCommands listDatabases listIndexes
listSearchIndexes lockInfo logRotate logout mapReduce ping planCacheClear profile reIndex
refreshSessions renameCollection replSetGetConfig replSetGetStatus revokeRolesFromUser
rolesInfo rotateCertificates saslContinue saslStart serverStatus setParameter shutdown
startSession top update updateRole updateSearchIndex updateUser usersInfo validate whatsmyuri
"""

COMMANDS: Final = {name.lower(): name for name in _NAMES.split()}
"""As they are shown, by how they are spelt without capitals: servers take some either way."""

MANY: Final = {"insert": "documents", "update": "updates", "delete": "deletes"}
"""Commands that do several things at once, and where these stand."""

_OF_COLLECTIONS: Final = """
aggregate collMod collStats compact convertToCapped count create createIndexes
createSearchIndexes delete distinct drop dropIndexes dropSearchIndex find findAndModify insert
listIndexes listSearchIndexes mapReduce reIndex update updateSearchIndex validate
"""

OF_COLLECTIONS: Final = frozenset(_OF_COLLECTIONS.split())
"""Commands whose own value is a collection's name; that of others may be anything."""
