#pragma once

#include "emulator/ptx/syntax.h"
#include "emulator/ptx/token_stream.h"

namespace triptych::emulator::ptx {

/// Reads from after `.entry` or `.func` to the end of the body, which is left for `parse_body`, or of the declaration.
Function parse_function_head(TokenStream& tokens, bool is_entry);

/// `head` with the statements of its body.
Function parse_body(const Function& head);

/// The static `.shared` variables of a body, found without reading the rest of it.
std::vector<Variable> shared_variables(const Function& head);

/// Reads `.shared .align 4 .b8 name[64] = {...}` up to, not including, what follows.
Variable parse_variable(TokenStream& tokens);

}  // namespace triptych::emulator::ptx
