-- Writes the bill of materials of a release as SPDX 2.3 JSON: our archive, and the libraries that it is built with, which
-- Debian delivers. Usage: luajit debian/sbom.lua VERSION. The same bytes for each run on one commit.
local json = require "cjson"

local version = assert(arg[1], "usage: luajit debian/sbom.lua VERSION")

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read("*a"):gsub("%s+$", "")
  pipe:close()
  return text
end

-- name, SPDX licence, what it is for; the same rows as the table of libraries in docs/ARCHITECTURE.md
local LIBRARIES = {
  { "luajit", "MIT", "Lua" },
  { "libev", "BSD-2-Clause OR GPL-2.0-or-later", "the loop, linked statically" },
  { "c-ares", "MIT", "DNS" },
  { "libcurl", "curl", "HTTP" },
  { "openssl", "Apache-2.0", "TLS, hashes and signatures" },
  { "libidn2", "LGPL-3.0-or-later OR GPL-2.0-or-later", "IDNA" },
  { "pcre2", "BSD-3-Clause", "regular expressions" },
  { "libsystemd", "LGPL-2.1-or-later", "readiness and socket activation, optional" },
  { "lpeg", "MIT", "grammars, loaded at run time" },
  { "lua-cjson", "MIT", "JSON, loaded at run time" },
}

local commit = output "git rev-parse HEAD"
local packages = { {
  SPDXID = "SPDXRef-moonmilter", name = "moonmilter", versionInfo = version, licenseConcluded = "MIT",
  licenseDeclared = "MIT", copyrightText = "2026 The moonmilter authors", downloadLocation = "NOASSERTION",
  filesAnalyzed = false, sourceInfo = "git commit " .. commit,
} }
local relationships = { {
  spdxElementId = "SPDXRef-DOCUMENT", relationshipType = "DESCRIBES", relatedSpdxElement = "SPDXRef-moonmilter",
} }
for i, library in ipairs(LIBRARIES) do
  local id = "SPDXRef-" .. library[1]
  packages[i + 1] = {
    SPDXID = id, name = library[1], licenseConcluded = library[2], licenseDeclared = library[2],
    copyrightText = "NOASSERTION", downloadLocation = "NOASSERTION", filesAnalyzed = false, comment = library[3],
  }
  relationships[i + 1] = {
    spdxElementId = "SPDXRef-moonmilter", relatedSpdxElement = id,
    relationshipType = library[1] == "libev" and "STATIC_LINK" or "DYNAMIC_LINK",
  }
end

local document = {
  spdxVersion = "SPDX-2.3", dataLicense = "CC0-1.0", SPDXID = "SPDXRef-DOCUMENT", name = "moonmilter-" .. version,
  documentNamespace = "urn:moonmilter:" .. version .. ":" .. commit,
  creationInfo = { created = output "TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd",
    creators = { "Tool: moonmilter debian/sbom.lua" } },
  packages = packages, relationships = relationships,
}

-- cjson writes keys in the order of the hash, which differs between runs.
local function write(value, indent)
  if type(value) ~= "table" then return json.encode(value) end
  local inner, items = indent .. "  ", {}
  if value[1] ~= nil then
    for i, item in ipairs(value) do items[i] = inner .. write(item, inner) end
    return "[\n" .. table.concat(items, ",\n") .. "\n" .. indent .. "]"
  end
  for name, item in pairs(value) do items[#items + 1] = inner .. json.encode(name) .. ": " .. write(item, inner) end
  table.sort(items)
  return "{\n" .. table.concat(items, ",\n") .. "\n" .. indent .. "}"
end

print(write(document, ""))
