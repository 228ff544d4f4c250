--- The type of content by its first bytes.
local codec = require "moonmilter.codec"

local kind = {}

-- offset (from 0), bytes, kind; the first match counts. Sources: the formats' own specifications.
local magic = {
  { 0, "\127ELF", "elf" },
  { 0, "\207\250\237\254", "macho" }, { 0, "\206\250\237\254", "macho" }, { 0, "\254\237\250\206", "macho" },
  { 0, "\254\237\250\207", "macho" },
  { 0, "\202\254\186\190", "class" }, -- also fat Mach-O; both run
  { 0, "L\0\0\0\1\20\2\0", "lnk" },
  { 0, "#!", "script" },
  { 0, "\208\207\17\224\161\177\26\225", "ole" }, -- old Office, MSI
  { 0, "PK\3\4", "zip" }, { 0, "PK\5\6", "zip" }, { 0, "PK\7\8", "zip" },
  { 0, "Rar!\26\7", "rar" },
  { 0, "7z\188\175\39\28", "7z" },
  { 0, "\31\139\8", "gzip" }, { 0, "BZh", "bzip2" }, { 0, "\253" .. "7zXZ\0", "xz" }, { 0, "\40\181\47\253", "zstd" },
  { 0, "MSCF", "cab" }, { 0, "ITSF", "chm" }, { 7, "**ACE**", "ace" }, { 0, "\96\234", "arj" },
  { 257, "ustar", "tar" },
  { 0, "%PDF-", "pdf" }, { 0, "{\\rtf", "rtf" }, { 0, "\120\159\62\34", "tnef" },
  { 0, "\137PNG\r\n\26\n", "png" }, { 0, "GIF87a", "gif" }, { 0, "GIF89a", "gif" }, { 0, "\255\216\255", "jpeg" },
  { 0, "BM", "bmp" }, { 8, "WEBP", "webp" }, { 8, "WAVE", "wav" }, { 0, "ID3", "mp3" }, { 4, "ftyp", "mp4" },
  { 0, "OggS", "ogg" }, { 0, "II*\0", "tiff" }, { 0, "MM\0*", "tiff" },
}
-- The names of a zip's first members show its purpose.
local zip_kinds = {
  { "[Content_Types].xml", "ooxml" }, { "_rels/", "ooxml" }, { "META-INF/MANIFEST.MF", "jar" }, { "META-INF/", "jar" },
  { "mimetypeapplication/vnd.oasis", "odf" }, { "AndroidManifest.xml", "apk" },
}
--- Kinds a mail reader's user can start with a click.
kind.executable = { exe = true, elf = true, macho = true, class = true, lnk = true, script = true,
  jar = true, apk = true }

--- The kind of content, by its first kilobyte: "exe", "elf", "zip", "ooxml", "ole", "pdf", "png", "html", … (the whole
--- list is in docs/mail-mime.md); nil when nothing matches.
---@param bytes string
---@return string|nil kind
function kind.of(bytes)
  if bytes:sub(1, 2) == "MZ" and bytes:sub(1, 64):find("\0", 1, true) then -- text may begin with "MZ" too
    return "exe"
  end
  for _, row in ipairs(magic) do
    if bytes:sub(row[1] + 1, row[1] + #row[2]) == row[2] then
      if row[3] == "zip" then
        for _, member in ipairs(zip_kinds) do
          if bytes:find(member[1], 31, true) then
            return member[2]
          end
        end
      elseif row[3] == "bmp" and not bytes:sub(7, 10):find("\0\0\0\0", 1, true) then
        break
      end
      return row[3]
    end
  end
  local start = bytes:sub(1, 512):gsub("^\239\187\191", ""):gsub("^%s+", ""):lower()
  if start:find("^<!doctype%s+html") or start:find("^<html[%s>]") or start:find("^<script[%s>]") then
    return "html"
  end
  if start:find("^<svg[%s>]") or (start:find("^<%?xml") and start:find("<svg[%s>]")) then
    return "svg"
  end
  if start:find("^<%?xml") then
    return "xml"
  end
  return nil
end

--- The kind of content whose transfer encoding is not known: a mail reader may guess, so what it could start is looked
--- for under each encoding.
---@param bytes string
---@return string|nil kind
function kind.under_any_encoding(bytes)
  for _, decode in ipairs { codec.base64_decode, codec.qp_decode, codec.uu_decode } do
    local found = kind.of((decode(bytes)))
    if kind.executable[found] then
      return found
    end
  end
  return kind.of(bytes)
end

return kind
