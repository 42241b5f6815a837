-- Wireshark dissector of the protocol of blockd and blkcp (docs/protocol.md), for the files that `--dump` writes:
--
--   tshark -X lua_script:docs/blk.lua -r FILE
--   wireshark -X lua_script:docs/blk.lua FILE
--
-- For good: copy it to the directory that Help > About Wireshark > Folders names as "Personal Lua Plugins".
--
-- Preferences: blk.port (7440), blk.checksum (TRUE: CRC32 of packets that are there whole is verified).

local blk = Proto("blk", "Block storage protocol")

blk.prefs.port = Pref.uint("UDP port", 7440, "UDP port of blockd")
blk.prefs.checksum = Pref.bool("Verify checksums", true,
    "Compute the CRC32 of every packet that is there whole; slow for large dumps of whole packets")

local HEADER_LEN = 56
local VERSION = 2

local KINDS = {
    [1] = "Hello", [2] = "HelloReply", [3] = "Refuse", [4] = "Control", [5] = "Data", [6] = "Ack",
    [7] = "Close", [8] = "Retry", [9] = "Reset", [10] = "Probe",
}
local HELLO, HELLO_REPLY, REFUSE, CONTROL, DATA, ACK, CLOSE, RETRY, RESET = 1, 2, 3, 4, 5, 6, 7, 8, 9

local CLOSE_CODES = {
    [0] = "done", [1] = "shutting down", [2] = "protocol violation", [3] = "timed out", [4] = "internal error",
    [5] = "parameters that cannot be obeyed", [6] = "the place was given to another session",
    [7] = "what is sent does not arrive",
}
local REFUSE_REASONS = { [1] = "version", [2] = "epoch", [3] = "parameters", [4] = "busy" }
local EXTENSIONS = { [0] = "padding", [1] = "cookie", [2] = "key exchange", [3] = "long blocks" }

-- Control messages by number (proto/src/message/request.rs, reply.rs), with their first fields in the order of their encoding:
-- n an unsigned number, s text, b bytes. What follows is not taken apart.
local REQUESTS = {
    [0] = { "Put", "n:transfer", "s:export", "b:path", "n:size" },
    { "Commit", "n:transfer", "n:crc" },
    { "Open", "n:transfer", "s:export", "b:path" },
    { "Read", "n:transfer", "n:offset", "n:len" },
    { "Close", "n:transfer" },
    { "Stat", "s:export", "b:path" },
    { "List", "s:export", "b:path", "n:cursor" },
    { "MakeDirectory", "s:export", "b:path" },
    { "Share", "n:transfer" },
    { "Join", "n:transfer", "n:token" },
    { "Begin", "n:transfer", "s:export", "b:path", "n:size" },
    { "Store", "s:export", "n:files" },
    { "Fetch", "s:export", "n:files" },
    { "OpenFile", "n:transfer", "s:export", "b:path" },
    { "Write", "n:transfer", "n:file", "n:offset", "n:len" },
    { "WriteDone", "n:transfer", "n:crc" },
    { "WriteInline", "n:file", "n:offset", "n:crc" },
    { "ReadInline", "n:file", "n:offset", "n:len" },
    { "Sync", "n:file" },
    { "Truncate", "n:file", "n:size" },
    { "Allocate", "n:file", "n:offset", "n:len" },
    { "Holes", "n:transfer", "n:offset" },
    { "ReadSparse", "n:transfer", "n:offset", "n:len" },
    { "ReadRange", "n:transfer", "n:file", "n:offset", "n:len" },
    { "FileAttributes", "n:file" },
    { "Discard", "n:transfer" },
    { "Remove", "s:export", "b:path" },
    { "Rename", "s:export", "b:from", "b:to", "n:replace" },
    { "RemoveDirectory", "s:export", "b:path" },
    { "Describe" },
    { "MakeLink", "s:export", "b:path", "b:target" },
    { "ReadLink", "s:export", "b:path" },
    { "SetAttributes", "s:export", "b:path", "n:mode" },
}
local REPLIES = {
    [0] = { "PutReady" },
    { "Committed", "n:zero_copy_bytes", "n:copied_bytes" },
    { "Opened" },
    { "ReadDone", "n:crc" },
    { "Closed" },
    { "Attributes" },
    { "Entries", "n:entries" },
    { "Made" },
    { "Failed", "n:code", "s:message" },
    { "Shared", "n:token", "n:queues" },
    { "Joined" },
    { "Missing", "n:ranges" },
    { "Begun", "n:extents" },
    { "Stored", "n:files" },
    { "Fetched", "n:files" },
    { "WriteReady" },
    { "Written", "n:zero_copy_bytes", "n:copied_bytes" },
    { "Bytes", "n:crc" },
    { "Done" },
    { "Holes", "n:ranges" },
    { "Description", "s:version", "s:datapath" },
    { "Link", "b:target" },
}

local f = {
    version = ProtoField.uint8("blk.version", "Version"),
    kind = ProtoField.uint8("blk.kind", "Kind", base.DEC, KINDS),
    flags = ProtoField.uint8("blk.flags", "Flags", base.HEX),
    key_phase = ProtoField.bool("blk.flags.key_phase", "Key phase", 8, nil, 0x01),
    ack_now = ProtoField.bool("blk.flags.ack_now", "Acknowledge at once", 8, nil, 0x02),
    ack_interval = ProtoField.uint8("blk.ack_interval", "Ack interval"),
    session = ProtoField.uint32("blk.session", "Session of the receiver", base.HEX),
    number = ProtoField.uint64("blk.number", "Packet number"),
    transfer = ProtoField.uint32("blk.transfer", "Transfer"),
    length = ProtoField.uint16("blk.length", "Payload length"),
    span = ProtoField.uint16("blk.span", "Span of header and padding"),
    block = ProtoField.uint64("blk.block", "Block number"),
    offset = ProtoField.uint64("blk.offset", "Offset"),
    crc = ProtoField.uint32("blk.crc", "CRC32", base.HEX),
    crc_good = ProtoField.bool("blk.crc.good", "CRC32 is right"),
    padding = ProtoField.bytes("blk.padding", "Padding"),
    data = ProtoField.bytes("blk.data", "Payload"),
    cancelled = ProtoField.bool("blk.cancelled", "The block was cancelled"),
    ping = ProtoField.bool("blk.ping", "Ping"),
    -- Hello, HelloReply
    hello_id = ProtoField.uint32("blk.hello.session", "Session of the sender", base.HEX),
    hello_lowest = ProtoField.uint8("blk.hello.lowest_version", "Lowest version"),
    hello_highest = ProtoField.uint8("blk.hello.highest_version", "Highest version"),
    hello_queues = ProtoField.uint16("blk.hello.queues", "Queues"),
    hello_token = ProtoField.uint64("blk.hello.token", "Token", base.HEX),
    hello_offset = ProtoField.uint16("blk.hello.payload_offset", "Payload offset"),
    hello_granule = ProtoField.uint16("blk.hello.granule", "Payload granule"),
    hello_payload = ProtoField.uint16("blk.hello.max_payload", "Largest payload"),
    hello_credit = ProtoField.uint64("blk.hello.credit", "Initial credit"),
    hello_epoch = ProtoField.uint64("blk.hello.epoch", "Epoch"),
    extension = ProtoField.uint16("blk.hello.extension", "Extension", base.DEC, EXTENSIONS),
    cookie = ProtoField.bytes("blk.cookie", "Cookie"),
    -- Refuse, Close, Reset
    refuse_reason = ProtoField.uint8("blk.refuse.reason", "Reason", base.DEC, REFUSE_REASONS),
    refuse_epoch = ProtoField.uint64("blk.refuse.epoch", "Epoch of the server"),
    close_code = ProtoField.uint32("blk.close.code", "Code", base.DEC, CLOSE_CODES),
    reset_session = ProtoField.uint32("blk.reset.session", "Unknown session", base.HEX),
    reset_kind = ProtoField.uint8("blk.reset.kind", "Kind of the packet", base.DEC, KINDS),
    reset_number = ProtoField.uint64("blk.reset.number", "Number of the packet"),
    -- Ack
    largest = ProtoField.uint64("blk.ack.largest", "Largest packet number"),
    max_blocks = ProtoField.uint64("blk.ack.max_blocks", "Blocks that may be sent"),
    delay = ProtoField.uint32("blk.ack.delay", "Delay in ns"),
    ranges = ProtoField.uint16("blk.ack.ranges", "Ranges"),
    ce = ProtoField.uint64("blk.ack.ce_packets", "Packets marked \"congestion experienced\""),
    range = ProtoField.string("blk.ack.range", "Range"),
    -- Control
    message = ProtoField.string("blk.message", "Message"),
    message_len = ProtoField.uint32("blk.message.length", "Length"),
    message_id = ProtoField.uint64("blk.message.id", "Request id"),
    message_field = ProtoField.string("blk.message.field", "Field"),
}
blk.fields = f

local e = {
    crc = ProtoExpert.new("blk.crc.wrong", "The CRC32 is wrong", expert.group.CHECKSUM, expert.severity.ERROR),
    version = ProtoExpert.new("blk.version.other", "Another version of the protocol", expert.group.PROTOCOL,
        expert.severity.WARN),
    length = ProtoExpert.new("blk.length.wrong", "Span and length are not those of the datagram",
        expert.group.MALFORMED, expert.severity.ERROR),
}
blk.experts = { e.crc, e.version, e.length }

-- CRC32 (IEEE 802.3), reflected, one byte at a time.
local band, bxor, rshift, bnot, tobit = bit.band, bit.bxor, bit.rshift, bit.bnot, bit.tobit
local crc_table = {}
for byte = 0, 255 do
    local crc = byte
    for _ = 1, 8 do
        crc = band(crc, 1) == 1 and bxor(rshift(crc, 1), 0xedb88320) or rshift(crc, 1)
    end
    crc_table[byte] = crc
end

local function crc32(crc, bytes)
    for at = 1, #bytes do
        crc = bxor(rshift(crc, 8), crc_table[band(bxor(crc, bytes:byte(at)), 0xff)])
    end
    return crc
end

-- The payload, then the header with its tag zeroed.
local function checksum_is_right(tvb, span)
    local payload = tvb:len() > span and tvb:raw(span, tvb:len() - span) or ""
    local header = tvb:raw(0, 40) .. string.rep("\0", 16)
    local crc = bnot(crc32(crc32(0xffffffff, payload), header))
    return tobit(crc) == tobit(tvb(40, 4):le_uint())
end

-- Reads fields one after the other, and none that is not there.
local function reader(tvb, tree)
    local at = 0
    return function(field, len)
        if at + len > tvb:len() then
            at = tvb:len() + 1
            return nil
        end
        local range = tvb(at, len)
        at = at + len
        if field then
            tree:add_le(field, range)
        end
        return range
    end
end

local function dissect_extensions(tvb, tree)
    local at = 0
    while at + 4 <= tvb:len() do
        local kind, len = tvb(at, 2):le_uint(), tvb(at + 2, 2):le_uint()
        if kind == 0 then
            tree:add_le(f.extension, tvb(at, 2))
            return
        end
        local whole = math.min(4 + len, tvb:len() - at)
        local sub = tree:add_le(f.extension, tvb(at, 2))
        if kind == 1 and whole > 4 then
            sub:add(f.cookie, tvb(at + 4, whole - 4))
        end
        at = at + 4 + len
    end
end

local function dissect_hello(tvb, tree)
    local read = reader(tvb, tree)
    local id = read(f.hello_id, 4)
    read(f.hello_lowest, 1)
    read(f.hello_highest, 1)
    read(f.hello_queues, 2)
    read(f.hello_token, 8)
    read(f.hello_offset, 2)
    read(f.hello_granule, 2)
    local payload = read(f.hello_payload, 2)
    read(nil, 2)
    local credit = read(f.hello_credit, 8)
    read(f.hello_epoch, 8)
    if tvb:len() > 40 then
        dissect_extensions(tvb(40):tvb(), tree)
    end
    if credit then
        return string.format("session 0x%08x, payload up to %d, credit %s", id:le_uint(), payload:le_uint(),
            tostring(credit:le_uint64()))
    end
end

local function dissect_ack(tvb, tree)
    local read = reader(tvb, tree)
    local largest = read(f.largest, 8)
    local max_blocks = read(f.max_blocks, 8)
    read(f.delay, 4)
    local ranges = read(f.ranges, 2)
    read(nil, 2)
    if not read(f.ce, 8) then
        return
    end
    local top = largest:le_uint64()
    local words = {}
    for index = 1, ranges:le_uint() do
        local gap, length = read(nil, 4), read(nil, 4)
        if not length then
            break
        end
        -- The next range ends below what is missing.
        top = top - gap:le_uint()
        local bottom = top - (length:le_uint() - 1)
        local text = top == bottom and tostring(top) or (tostring(bottom) .. "-" .. tostring(top))
        tree:add(f.range, tvb(32 + 8 * (index - 1), 8), text)
        if index <= 4 then
            words[index] = text
        end
        top = bottom - 1
    end
    local more = ranges:le_uint() > 4 and " …" or ""
    return string.format("%s%s, blocks up to %s", table.concat(words, " "), more, tostring(max_blocks:le_uint64()))
end

-- bincode: a byte, or one of 251, 252, 253 and two, four, eight bytes. The number, and where it ends.
local function varint(tvb, at)
    if at >= tvb:len() then
        return nil
    end
    local first = tvb(at, 1):uint()
    if first < 251 then
        return UInt64(first), at + 1
    end
    local len = ({ [251] = 2, [252] = 4, [253] = 8 })[first]
    if not len or at + 1 + len > tvb:len() then
        return nil
    end
    return tvb(at + 1, len):le_uint64(), at + 1 + len
end

local function dissect_fields(tvb, at, fields, tree)
    for index = 2, #fields do
        local form, name = fields[index]:match("^(%a):(.*)$")
        local start = at
        local number
        number, at = varint(tvb, at)
        if not number then
            return
        end
        local value = tostring(number)
        if form ~= "n" then
            local len = number:tonumber()
            if at + len > tvb:len() then
                return
            end
            value = len > 0 and tvb(at, len):string() or ""
            at = at + len
        end
        tree:add(f.message_field, tvb(start, at - start), name .. ": " .. value)
    end
end

-- A message of the control stream, or what was captured of it.
local function dissect_message(tvb, tree, to_server, total)
    local id, at = varint(tvb, 0)
    local variant
    if id then
        variant, at = varint(tvb, at)
    end
    local known = variant and (to_server and REQUESTS or REPLIES)[variant:tonumber()]
    local name = known and known[1] or "message"
    local sub = tree:add(f.message, tvb(), name)
    sub:add(f.message_len, total)
    if id then
        sub:add(f.message_id, tvb(0, 1), id)
    end
    if known then
        dissect_fields(tvb, at, known, sub)
    end
    return name
end

-- Where messages begin in each control stream, found in the first pass over the packets: by stream where the next message
-- begins, and by packet the places in its payload. Behind a piece that is missing, or was not captured far enough, only packets
-- that hold exactly one message are understood, and the stream is taken up again with the first of them.
local streams, starts = {}, {}

function blk.init()
    streams, starts = {}, {}
end

local function key_of(pinfo, session)
    return table.concat({ tostring(pinfo.src), pinfo.src_port, tostring(pinfo.dst), pinfo.dst_port, session }, " ")
end

local function length_in(bytes, at)
    local a, b, c, d = bytes:byte(at + 1, at + 4)
    return d and a + b * 0x100 + c * 0x10000 + d * 0x1000000
end

-- Finds the messages that begin in a piece, which goes on where the stream has come to.
local function advance(stream, piece)
    -- The first bytes of a length may have been in the piece before.
    local base = math.min(stream.next, piece.offset)
    local bytes = stream.partial:sub(1, piece.offset - base) .. piece.bytes
    local finish = piece.offset + piece.len
    stream.partial = ""
    while stream.next < finish do
        local len = length_in(bytes, stream.next - base)
        if not len then
            local is_whole = #piece.bytes == piece.len
            stream.partial = is_whole and bytes:sub(stream.next - base + 1) or ""
            stream.next = is_whole and stream.next or math.huge
            return
        end
        if not piece.is_one then
            piece.found[#piece.found + 1] = { at = stream.next - piece.offset, len = len }
        end
        stream.next = stream.next + 4 + len
    end
end

-- Takes up the pieces that go on where the stream has come to, one after the other.
local function take_up(stream)
    local moved = true
    while moved do
        moved = false
        for index = #stream.waiting, 1, -1 do
            local piece = stream.waiting[index]
            local known = stream.next + #stream.partial
            if piece.offset + piece.len <= known then
                table.remove(stream.waiting, index)
            elseif piece.offset <= known then
                table.remove(stream.waiting, index)
                advance(stream, piece)
                moved = true
            end
        end
    end
end

-- `offset` is that of the payload in the stream, `len` its length on the wire; `tvb` has what was captured of it.
local function find_messages(pinfo, key, offset, tvb, len)
    local frame = pinfo.number
    if starts[frame] then
        return starts[frame]
    end
    local found = {}
    starts[frame] = found
    local stream = streams[key] or { next = 0, partial = "", waiting = {} }
    streams[key] = stream
    local piece = { offset = offset, bytes = tvb and tvb:raw() or "", len = len, found = found }
    local first = length_in(piece.bytes, 0)
    piece.is_one = first ~= nil and 4 + first == len
    if piece.is_one then
        found[1] = { at = 0, len = first }
        if stream.next == math.huge then
            stream.next = offset
        end
    end
    stream.waiting[#stream.waiting + 1] = piece
    take_up(stream)
    return found
end

local function dissect_control(tvb, tree, pinfo, header, len)
    if len == 0 then
        tree:add(f.ping, true)
        return "ping"
    end
    local to_server = pinfo.dst_port == blk.prefs.port
    local key = key_of(pinfo, header.session)
    local names = {}
    local there = tvb and tvb:len() or 0
    for _, start in ipairs(find_messages(pinfo, key, header.offset:tonumber(), tvb, len)) do
        local from = start.at + 4
        local captured = math.min(start.len, there - from)
        if captured > 0 then
            names[#names + 1] = dissect_message(tvb(from, captured):tvb(), tree, to_server, start.len)
        else
            tree:add(f.message_len, start.len)
        end
    end
    if #names == 0 and tvb then
        tree:add(f.data, tvb())
    end
    return string.format("stream %s+%d %s", tostring(header.offset), len, table.concat(names, ", "))
end

local function dissect_payload(kind, tvb, tree, pinfo, header, len)
    if kind == CONTROL then
        return dissect_control(tvb, tree, pinfo, header, len)
    elseif kind == DATA and len == 0 then
        tree:add(f.cancelled, true)
        return string.format("block %s, cancelled", tostring(header.block))
    elseif kind == DATA then
        if tvb then
            tree:add(f.data, tvb())
        end
        return string.format("block %s, transfer %d, %d bytes at %s", tostring(header.block), header.transfer, len,
            tostring(header.offset))
    elseif not tvb then
        return nil
    elseif kind == HELLO or kind == HELLO_REPLY then
        return dissect_hello(tvb, tree)
    elseif kind == ACK then
        return dissect_ack(tvb, tree)
    end
    local read = reader(tvb, tree)
    if kind == REFUSE then
        local reason = read(f.refuse_reason, 1)
        read(f.hello_lowest, 1)
        read(f.hello_highest, 1)
        read(nil, 5)
        read(f.refuse_epoch, 8)
        return REFUSE_REASONS[reason:uint()]
    elseif kind == CLOSE then
        local code = read(f.close_code, 4)
        return code and (CLOSE_CODES[code:le_uint()] or tostring(code:le_uint()))
    elseif kind == RETRY then
        read(f.hello_id, 4)
        read(nil, 4)
        read(f.hello_token, 8)
        if tvb:len() > 16 then
            tree:add(f.cookie, tvb(16))
        end
    elseif kind == RESET then
        local session = read(f.reset_session, 4)
        read(f.reset_kind, 1)
        read(nil, 3)
        read(f.reset_number, 8)
        return session and string.format("no session 0x%08x", session:le_uint())
    else
        tree:add(f.data, tvb())
    end
end

-- A datagram is ours when it begins as one of ours does.
local function is_ours(tvb)
    return tvb:len() >= HEADER_LEN and KINDS[tvb(1, 1):uint()] ~= nil
end

local function dissect_header(tvb, tree)
    local read = reader(tvb, tree)
    read(f.version, 1)
    read(f.kind, 1)
    local flags = read(nil, 1)
    local sub = tree:add(f.flags, flags)
    sub:add(f.key_phase, flags)
    sub:add(f.ack_now, flags)
    read(f.ack_interval, 1)
    local session = read(f.session, 4)
    local number = read(f.number, 8)
    local transfer = read(f.transfer, 4)
    local length = read(f.length, 2)
    local span = read(f.span, 2)
    local block = read(f.block, 8)
    local offset = read(f.offset, 8)
    return {
        session = session:le_uint(), number = number:le_uint64(), transfer = transfer:le_uint(),
        length = length:le_uint(), span = span:le_uint(), block = block:le_uint64(), offset = offset:le_uint64(),
    }
end

function blk.dissector(tvb, pinfo, root)
    if not is_ours(tvb) then
        return 0
    end
    pinfo.cols.protocol = "BLK"
    local version, kind = tvb(0, 1):uint(), tvb(1, 1):uint()
    local tree = root:add(blk, tvb(), "Block storage protocol, " .. KINDS[kind])
    if version ~= VERSION and kind ~= REFUSE then
        -- Version, kind and session stand where they stand in all versions.
        tree:add(f.version, tvb(0, 1))
        tree:add(f.kind, tvb(1, 1))
        tree:add_le(f.session, tvb(4, 4))
        tree:add_proto_expert_info(e.version)
        pinfo.cols.info = string.format("%s of version %d", KINDS[kind], version)
        return tvb:len()
    end
    local header = dissect_header(tvb, tree)
    local span = kind == REFUSE and HEADER_LEN or header.span
    local crc = tree:add_le(f.crc, tvb(40, 4))
    if span < HEADER_LEN or span + header.length ~= tvb:reported_len() then
        tree:add_proto_expert_info(e.length)
        pinfo.cols.info = KINDS[kind] .. ", malformed"
        return tvb:len()
    end
    if blk.prefs.checksum and tvb:len() == tvb:reported_len() then
        local good = checksum_is_right(tvb, span)
        tree:add(f.crc_good, tvb(40, 4), good):set_generated()
        if not good then
            crc:add_proto_expert_info(e.crc)
        end
    end
    if span > HEADER_LEN and tvb:len() > HEADER_LEN then
        tree:add(f.padding, tvb(HEADER_LEN, math.min(span, tvb:len()) - HEADER_LEN))
    end
    local payload = tvb:len() > span and tvb(span):tvb() or nil
    local words = dissect_payload(kind, payload, tree, pinfo, header, header.length)
    local number = (kind == CONTROL or kind == DATA or kind == ACK or kind == 10) and " #" .. tostring(header.number) or ""
    pinfo.cols.info = KINDS[kind] .. number .. (words and ", " .. words or "")
    return tvb:len()
end

local ports = DissectorTable.get("udp.port")
local port = blk.prefs.port
ports:add(port, blk)

function blk.prefs_changed()
    if port ~= blk.prefs.port then
        ports:remove(port, blk)
        port = blk.prefs.port
        ports:add(port, blk)
    end
end
