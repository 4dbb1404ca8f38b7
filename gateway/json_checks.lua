-- Checks a JSON body against the contracts: Envoy's transcoder drops unknown fields, accepts text that is nearly JSON, and its errors
-- name no field. `TYPES` and `ENUMS` are defined before this text; the text after it calls `check_json`.

local DEEPEST = 100
local MOST_NAMES = 12

local byte = string.byte
local text, trail, depth, bound

local value

-- The present place in the request, as the contract writes it: signals[3].state
local function place()
  local said = ""
  for level = 1, depth do
    local step = trail[level]
    if type(step) == "number" then
      said = said .. "[" .. step .. "]"
    else
      said = said .. (said == "" and "" or ".") .. step
    end
  end
  return said == "" and "request" or said
end

local function fail(problem)
  error({ field = place(), problem = problem }, 0)
end

local function broken(at, problem)
  error({ field = "request", problem = ("is no JSON: %s at byte %d"):format(problem, at) }, 0)
end

local function enter(at, step)
  depth = depth + 1
  if depth > DEEPEST then
    broken(at, "it is nested too deep")
  end
  trail[depth] = step
end

local function shown(given)
  given = given:gsub("[^\32-\126]", "?")
  return #given > 60 and given:sub(1, 60) .. "..." or given
end

local function some_of(names)
  local said = table.concat(names, ", ", 1, math.min(#names, MOST_NAMES))
  return #names > MOST_NAMES and said .. (" and %d more"):format(#names - MOST_NAMES) or said
end

-- How many letters must change to make one word into the other.
local function distance(one, other)
  local row = {}
  for j = 0, #other do
    row[j] = j
  end
  for i = 1, #one do
    local before = row[0]
    row[0] = i
    for j = 1, #other do
      local change = before + (one:byte(i) == other:byte(j) and 0 or 1)
      before = row[j]
      row[j] = math.min(change, before + 1, row[j - 1] + 1)
    end
  end
  return row[#other]
end

-- A hint for an unknown name: the nearest known one, or a list.
local function near(given, names)
  local best, fewest = nil, math.huge
  for _, name in ipairs(names) do
    local lower, known = given:sub(1, 60):lower(), name:lower()
    local far = distance(lower, known)
    if known:sub(1, #lower) == lower or lower:sub(1, #known) == known then
      far = 1
    end
    if far < fewest then
      best, fewest = name, far
    end
  end
  if best ~= nil and fewest <= math.max(#given, #best) / 3 then
    return ("do you mean %s?"):format(best)
  end
  return #names > 0 and "there are " .. some_of(names) or "there are none"
end

-- The loops below look at bytes, because LuaJIT compiles such loops, and no patterns.

local function skip(at)
  local letter = byte(text, at)
  while letter == 32 or letter == 10 or letter == 13 or letter == 9 do
    at = at + 1
    letter = byte(text, at)
  end
  return at
end

-- The place of the quote that ends a JSON text.
local function text_end(at)
  local from = at + 1
  while true do
    local letter = byte(text, from)
    if letter == 34 then
      return from
    elseif letter == nil then
      broken(at, "a text without an end")
    elseif letter < 32 then
      broken(from, "a text with a control character")
    elseif letter == 92 then
      if not text:find('^["\\/bfnrt]', from + 1) and not text:find("^u%x%x%x%x", from + 1) then
        broken(from, "a backslash before what it cannot stand before")
      end
      from = from + 2
    else
      from = from + 1
    end
  end
end

local function digits_end(at)
  local letter = byte(text, at)
  while letter ~= nil and letter >= 48 and letter <= 57 do
    at = at + 1
    letter = byte(text, at)
  end
  return at
end

local function number_end(at)
  local first = byte(text, at) == 45 and at + 1 or at
  local after = digits_end(first)
  if after == first or (byte(text, first) == 48 and after > first + 1) then
    broken(at, "something that is no value")
  end
  if byte(text, after) == 46 then
    local fraction = digits_end(after + 1)
    if fraction == after + 1 then
      broken(after, "a point without digits")
    end
    after = fraction
  end
  local letter = byte(text, after)
  if letter == 101 or letter == 69 then
    local sign = byte(text, after + 1)
    local power = (sign == 43 or sign == 45) and after + 2 or after + 1
    local exponent = digits_end(power)
    if exponent == power then
      broken(after, "an exponent without digits")
    end
    after = exponent
  end
  return after - 1
end

-- The name of a member, and the place of its value.
local function member(at)
  if byte(text, at) ~= 34 then
    broken(at, "a name without quotes")
  end
  local last = text_end(at)
  local colon = skip(last + 1)
  if byte(text, colon) ~= 58 then
    broken(colon, "a name without a colon")
  end
  return text:sub(at + 1, last - 1), skip(colon + 1)
end

-- Called after a value: the place of the next one, and whether there is one.
local function following(at, close, problem)
  at = skip(at)
  local letter = byte(text, at)
  if letter == close then
    return at + 1, false
  elseif letter ~= 44 then
    broken(at, problem)
  end
  return skip(at + 1), true
end

-- Reads the members of an object, each with `look(at, field, name)`.
local function object(at, look, field)
  at = skip(at + 1)
  if byte(text, at) == 125 then
    return at + 1
  end
  local more, name = true, nil
  while more do
    name, at = member(at)
    at, more = following(look(at, field, name), 125, "an object without an end")
  end
  return at
end

-- Reads the items of a list, each with `look(at, field)`.
local function list(at, look, field)
  at = skip(at + 1)
  if byte(text, at) == 93 then
    return at + 1
  end
  local more, number = true, 0
  while more do
    enter(at, number)
    at, more = following(look(at, field), 93, "a list without an end")
    depth = depth - 1
    number = number + 1
  end
  return at
end

local any

local function anything(at, _, name)
  enter(at, name)
  local after = any(at)
  depth = depth - 1
  return after
end

-- Reads any value; it must only be JSON.
any = function(at)
  local letter = byte(text, at)
  if letter == 123 then
    return object(at, anything)
  elseif letter == 91 then
    return list(at, any)
  elseif letter == 34 then
    return text_end(at) + 1
  end
  for _, word in ipairs({ "true", "false", "null" }) do
    if text:sub(at, at + #word - 1) == word then
      return at + #word
    end
  end
  return number_end(at) + 1
end

local function must(at, what)
  -- If it is no JSON at all, that error comes first.
  any(at)
  fail("must be " .. what)
end

local function message(at, known)
  if byte(text, at) ~= 123 then
    must(at, "an object: {...}")
  end
  at = skip(at + 1)
  if byte(text, at) == 125 then
    return at + 1
  end
  local seen, more, name = {}, true, nil
  while more do
    name, at = member(at)
    local field = known.fields[name]
    if field == nil then
      enter(at, shown(name))
      fail("is no field of this request: " .. near(name, known.names))
    end
    enter(at, field.name)
    if depth == 1 and bound[field.name] then
      fail("is given by the path: leave it out of the body")
    elseif seen[field.name] then
      fail("is given twice")
    end
    seen[field.name] = true
    if byte(text, at) == 110 and text:sub(at, at + 3) == "null" then
      at = at + 4
    elseif not field.many then
      at = value(at, field)
    elseif byte(text, at) == 91 then
      at = list(at, value, field)
    else
      must(at, "a list: [...]")
    end
    depth = depth - 1
    at, more = following(at, 125, "an object without an end")
  end
  return at
end

local function quoted(at)
  if byte(text, at) ~= 34 then
    must(at, "a text")
  end
  local last = text_end(at)
  return text:sub(at + 1, last - 1), last + 1
end

-- A number, or a text that holds a number.
local function numeric(at)
  local letter = byte(text, at)
  if letter == 34 then
    return quoted(at)
  end
  if letter ~= 45 and (letter == nil or letter < 48 or letter > 57) then
    must(at, "a number")
  end
  local last = number_end(at)
  return text:sub(at, last), last + 1
end

local NUMBER = "^-?%d+%.?%d*[eE]?[+-]?%d*$"

local function entry(at, field, name)
  enter(at, shown(name))
  local after = value(at, field)
  depth = depth - 1
  return after
end

local KINDS = {
  text = function(at)
    if byte(text, at) ~= 34 then
      must(at, "a text")
    end
    return text_end(at) + 1
  end,
  moment = function(at)
    local given, after = quoted(at)
    if not given:find("^%d%d%d%d%-%d%d%-%d%d[Tt]%d%d:%d%d:%d%d[%d.]*[Zz+-][%d:]*$") then
      fail(("is %s, which is no moment: write 2026-01-31T08:00:00Z"):format(shown(given)))
    end
    return after
  end,
  span = function(at)
    local given, after = quoted(at)
    if not given:find("^-?%d+%.?%d*s$") then
      fail(("is %s, which is no duration: write 1.5s"):format(shown(given)))
    end
    return after
  end,
  flag = function(at)
    local word = text:match("^true", at) or text:match("^false", at)
    if word == nil then
      must(at, "true or false")
    end
    return at + #word
  end,
  real = function(at)
    if byte(text, at) ~= 34 then
      local _, after = numeric(at)
      return after
    end
    local given, after = quoted(at)
    if not given:find(NUMBER) and given ~= "NaN" and given ~= "Infinity" and given ~= "-Infinity" then
      fail(("is %s, which is no number"):format(shown(given)))
    end
    return after
  end,
  whole = function(at, field)
    local given, after = numeric(at)
    local number = given:find(NUMBER) and tonumber(given)
    if not number or number % 1 ~= 0 then
      fail(("is %s, which is no whole number"):format(shown(given)))
    elseif number < field.least or number > field.most then
      fail(("is %s, which is out of range"):format(shown(given)))
    end
    return after
  end,
  enum = function(at, field)
    if byte(text, at) == 34 then
      local last = text_end(at)
      local given = text:sub(at + 1, last - 1)
      local known = ENUMS[field.of]
      if not known.values[given] then
        fail(("is %s, which is no known value; use one of %s"):format(shown(given), some_of(known.names)))
      end
      return last + 1
    end
    if not text:find("^-?%d+[^%d.eE]", at) then
      any(at)
      fail("is no known value; use one of " .. some_of(ENUMS[field.of].names))
    end
    return number_end(at) + 1
  end,
  message = function(at, field)
    return message(at, TYPES[field.of])
  end,
  map = function(at, field)
    if byte(text, at) ~= 123 then
      must(at, "an object: {...}")
    end
    return object(at, entry, field.of)
  end,
  any = any,
}

value = function(at, field)
  return KINDS[field.kind](at, field)
end

-- The wrong field of a body, and the reason; nothing if the body is right. A field that the path sets must not be in the body.
local function check_json(body, field, bound_by_path)
  text, trail, depth, bound = body, {}, 0, bound_by_path
  local whole, problem = pcall(function()
    local after = skip(value(skip(1), field))
    if after <= #text then
      broken(after, "something after its end")
    end
  end)
  text, trail, bound = nil, nil, nil
  if whole then
    return nil
  elseif type(problem) ~= "table" then
    error(problem, 0)
  end
  return problem.field, problem.problem
end

