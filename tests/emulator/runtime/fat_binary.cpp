#include "emulator/runtime/fat_binary.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include <elf.h>
#include <fatbinary_section.h>

#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

// The container is not documented; these are the fields that are needed, at the places where nvcc 11 to 13 write them.
constexpr uint32_t kContainerMagic = 0xba55ed50;
constexpr uint16_t kPtx = 1, kElf = 2;
constexpr uint64_t kCompressed = 0x2000, kCompressedZstd = 0x8000;

struct ContainerHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t header_bytes;
  uint64_t payload_bytes;
};

struct EntryHeader {
  uint16_t kind;
  uint16_t version;
  uint32_t header_bytes;
  uint64_t payload_bytes;
  uint32_t compressed_bytes;
  uint32_t options_offset;
  uint16_t minor_version, major_version;
  uint32_t architecture;
  uint32_t name_offset, name_bytes;
  uint64_t flags;
};

template <typename T>
T read_at(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

class Elf {
 public:
  explicit Elf(const std::byte* begin) : begin_(begin), header_(read_at<Elf64_Ehdr>(begin)) {}

  std::optional<Elf64_Shdr> find(std::string_view name) const {
    const Elf64_Shdr names = section(header_.e_shstrndx);
    for (std::size_t i = 0; i < header_.e_shnum; ++i)
      if (const Elf64_Shdr is = section(i); text(names, is.sh_name) == name) return is;
    return std::nullopt;
  }
  std::string text(const Elf64_Shdr& strings, std::size_t offset) const {
    return reinterpret_cast<const char*>(begin_ + strings.sh_offset + offset);
  }

 private:
  Elf64_Shdr section(std::size_t index) const {
    return read_at<Elf64_Shdr>(begin_ + header_.e_shoff + index * sizeof(Elf64_Shdr));
  }
  const std::byte* begin_;
  Elf64_Ehdr header_;
};

}  // namespace

FatBinary read_fat_binary(const void* wrapper) {
  const auto& control = *static_cast<const __fatBinC_Wrapper_t*>(wrapper);
  if (static_cast<uint32_t>(control.magic) != static_cast<uint32_t>(FATBINC_MAGIC))
    report("unsupported", "a fat binary with an unknown magic number.");
  const auto* at = reinterpret_cast<const std::byte*>(control.data);
  const auto header = read_at<ContainerHeader>(at);
  if (header.magic != kContainerMagic) report("unsupported", "a fat binary with an unknown container format.");
  at += header.header_bytes;
  const std::byte* const end = at + header.payload_bytes;
  FatBinary result;
  while (at < end) {
    const auto entry = read_at<EntryHeader>(at);
    const auto* const payload = at + entry.header_bytes;
    const int architecture = static_cast<int>(entry.architecture);
    if (entry.kind == kPtx) {
      if (entry.compressed_bytes != 0 || (entry.flags & (kCompressed | kCompressedZstd)) != 0)
        report("unsupported", "compressed PTX: compile with nvcc --no-compress.");
      const auto* const text = reinterpret_cast<const char*>(payload);
      result.ptx[architecture] = std::string(text, strnlen(text, entry.payload_bytes));
    } else if (entry.kind == kElf && entry.compressed_bytes == 0) {
      result.cubins[architecture] = {payload, entry.payload_bytes};
    }
    at = payload + entry.payload_bytes;
  }
  return result;
}

std::map<std::string, int> registers_per_thread(std::span<const std::byte> cubin) {
  std::map<std::string, int> result;
  if (cubin.size() < sizeof(Elf64_Ehdr) || std::memcmp(cubin.data(), ELFMAG, SELFMAG) != 0) return result;
  const Elf elf(cubin.data());
  const auto info = elf.find(".nv.info"), symbols = elf.find(".symtab"), names = elf.find(".strtab");
  if (!info || !symbols || !names) return result;
  // Attributes: format, kind, and a value of two bytes, which for sized ones says how many bytes follow.
  constexpr uint8_t kSized = 4, kRegisterCount = 0x2f;
  const std::byte* at = cubin.data() + info->sh_offset;
  const std::byte* const end = at + info->sh_size;
  while (at < end) {
    const auto format = read_at<uint8_t>(at), kind = read_at<uint8_t>(at + 1);
    const auto value = read_at<uint16_t>(at + 2);
    at += 4;
    if (format != kSized) continue;
    if (kind == kRegisterCount) {
      const auto symbol =
          read_at<Elf64_Sym>(cubin.data() + symbols->sh_offset + read_at<uint32_t>(at) * sizeof(Elf64_Sym));
      result[elf.text(*names, symbol.st_name)] = static_cast<int>(read_at<uint32_t>(at + 4));
    }
    at += value;
  }
  return result;
}

}  // namespace triptych::emulator
