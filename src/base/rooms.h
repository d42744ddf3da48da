#pragma once

/// The rooms' namespaces, lowest first. Each is named after its room, and its code names what stands in the rooms below
/// without a prefix. CMakeLists.txt says which rooms those are; here stand the nearest, and what these see follows. So
/// a class of one room is never another's, and one that is used from above, or across, does not compile. Where a room
/// has a name that one below has too, the call says which: `kernels::scale`. tests/architecture/check_namespaces.py
/// compares this with CMakeLists.txt.
namespace triptych {

namespace base {}
namespace config {
using namespace base;
}
namespace pipeline {
using namespace base;
}
namespace device {
using namespace base;
}
namespace kernels {
using namespace device;
}
namespace tensor {
using namespace kernels;
}
namespace parallel {
using namespace tensor;
}
namespace autograd {
using namespace parallel;
}
namespace ops {
using namespace autograd;
}
namespace nn {
using namespace ops;
}
namespace models {
using namespace nn;
}
namespace objectives {
using namespace models;
using namespace pipeline;
}  // namespace objectives
namespace optim {
using namespace autograd;
}
namespace text {
using namespace base;
}
namespace data {
using namespace tensor;
using namespace text;
}  // namespace data
namespace execution {
using namespace data;
using namespace objectives;
}  // namespace execution
namespace checkpoint {
using namespace parallel;
}
namespace report {
using namespace base;
}
namespace evaluation {
using namespace execution;
}
namespace tasks {
using namespace config;
using namespace evaluation;
using namespace report;
}  // namespace tasks
namespace training {
using namespace checkpoint;
using namespace optim;
using namespace tasks;
}  // namespace training
namespace interop {
using namespace training;
}

/// What is made of all rooms: the program, and the tests.
namespace launcher {
using namespace interop;
}
namespace test {
using namespace launcher;
}

}  // namespace triptych
